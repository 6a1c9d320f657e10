-- The nodes of the history's tree at every eighth level above the leaves, as they became complete.
-- The levels between are made of at most 128 of these, or of events' hashes.
create table audit_node (
    level integer not null check (level > 0 and level % 8 = 0),
    position integer not null check (position >= 0),
    hash text not null,
    primary key (level, position)
) strict;

-- Every signed statement about the tree, the note as it was signed.
create table audit_checkpoint (
    number integer primary key check (number >= 0),
    size integer not null,
    at integer not null,
    note text not null
) strict;

create index audit_checkpoint_by_size on audit_checkpoint (size, number);

-- What the history's own check came to. One row; times are microseconds UTC.
create table audit_check (
    id integer primary key check (id = 1),
    -- How far the round has come that is under way.
    next integer not null,
    -- When the last round ended that found nothing wrong, and how many events it had.
    sound_at integer,
    sound_size integer,
    -- The first thing that is wrong, and since when that is known.
    flaw text,
    flaw_at integer,
    -- Why no checkpoint is signed.
    unsigned text
) strict;

insert into audit_check (id, next) values (1, 0);

-- "insert or replace" fires no trigger for the row that it takes out, hence those on insert.
create trigger audit_node_no_insert before insert on audit_node
when exists (select 1 from audit_node where level = new.level and position = new.position)
begin
    select raise(abort, 'the tree of the history is append-only');
end;

create trigger audit_node_no_update before update on audit_node
begin
    select raise(abort, 'the tree of the history is append-only');
end;

create trigger audit_node_no_delete before delete on audit_node
begin
    select raise(abort, 'the tree of the history is append-only');
end;

create trigger audit_checkpoint_no_insert before insert on audit_checkpoint
when exists (select 1 from audit_checkpoint where number = new.number)
begin
    select raise(abort, 'checkpoints are append-only');
end;

create trigger audit_checkpoint_no_update before update on audit_checkpoint
begin
    select raise(abort, 'checkpoints are append-only');
end;

create trigger audit_checkpoint_no_delete before delete on audit_checkpoint
begin
    select raise(abort, 'checkpoints are append-only');
end;
