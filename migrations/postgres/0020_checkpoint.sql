-- The nodes of the history's tree at every eighth level above the leaves, as they became complete.
-- The levels between are made of at most 128 of these, or of events' hashes.
create table audit_node (
    level bigint not null check (level > 0 and level % 8 = 0),
    position bigint not null check (position >= 0),
    hash text not null,
    primary key (level, position)
);

-- Every signed statement about the tree, the note as it was signed.
create table audit_checkpoint (
    number bigint primary key check (number >= 0),
    size bigint not null,
    at bigint not null,
    note text not null
);

create index audit_checkpoint_by_size on audit_checkpoint (size, number);

-- What the history's own check came to. One row; times are microseconds UTC.
create table audit_check (
    id bigint primary key check (id = 1),
    -- How far the round has come that is under way.
    next bigint not null,
    -- When the last round ended that found nothing wrong, and how many events it had.
    sound_at bigint,
    sound_size bigint,
    -- The first thing that is wrong, and since when that is known.
    flaw text,
    flaw_at bigint,
    -- Why no checkpoint is signed.
    unsigned text
);

insert into audit_check (id, next) values (1, 0);

create trigger audit_node_no_update before update on audit_node
for each row execute function refuse('the tree of the history is append-only');

create trigger audit_node_no_delete before delete on audit_node
for each row execute function refuse('the tree of the history is append-only');

create trigger audit_node_no_truncate before truncate on audit_node
for each statement execute function refuse('the tree of the history is append-only');

create trigger audit_checkpoint_no_update before update on audit_checkpoint
for each row execute function refuse('checkpoints are append-only');

create trigger audit_checkpoint_no_delete before delete on audit_checkpoint
for each row execute function refuse('checkpoints are append-only');

create trigger audit_checkpoint_no_truncate before truncate on audit_checkpoint
for each statement execute function refuse('checkpoints are append-only');
