-- The history. What one filters by is computed from the hashed header, so that it cannot be made
-- to say something else than the header says.
create table audit_event (
    sequence integer primary key check (sequence >= 0),
    header text not null,
    payload text not null,
    previous text not null,
    hash text not null,
    at integer generated always as (header ->> '$.at') stored,
    type text generated always as (header ->> '$.type') stored,
    actor_kind text generated always as (header ->> '$.actor.kind') stored,
    actor_id text generated always as (header ->> '$.actor.id') stored,
    target text generated always as (header ->> '$.target') stored,
    stack text generated always as (header ->> '$.stack') stored,
    object text generated always as (header ->> '$.object') stored,
    run text generated always as (header ->> '$.run') stored
) strict;

create index audit_event_by_time on audit_event (at, sequence);
create index audit_event_by_type on audit_event (type, sequence);
create index audit_event_by_target on audit_event (target, sequence);
create index audit_event_by_stack on audit_event (stack, sequence);
create index audit_event_by_object on audit_event (object, sequence);
create index audit_event_by_run on audit_event (run, sequence);

-- What the commitments in the payloads stand for. The one part of the history that may be erased.
create table audit_person (
    commitment text primary key,
    sequence integer not null references audit_event (sequence),
    position integer not null,
    salt blob not null,
    value text not null
) strict;

create index audit_person_by_sequence on audit_person (sequence, position);

-- How long the history is, and the hash of its last event. One row.
create table audit_head (
    id integer primary key check (id = 1),
    size integer not null,
    hash text not null
) strict;

insert into audit_head (id, size, hash)
values (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

-- "insert or replace" fires no trigger for the row that it takes out, hence those on insert.
create trigger audit_event_no_insert before insert on audit_event
when exists (select 1 from audit_event where sequence = new.sequence)
begin
    select raise(abort, 'the history is append-only');
end;

create trigger audit_head_no_insert before insert on audit_head
when exists (select 1 from audit_head)
begin
    select raise(abort, 'the head of the history stays');
end;

create trigger audit_event_no_update before update on audit_event
begin
    select raise(abort, 'the history is append-only');
end;

create trigger audit_event_no_delete before delete on audit_event
begin
    select raise(abort, 'the history is append-only');
end;

create trigger audit_person_no_update before update on audit_person
begin
    select raise(abort, 'what a commitment stands for is erased, never changed');
end;

create trigger audit_head_no_update before update on audit_head
when new.id <> old.id
    or new.size <= old.size
    or not exists (
        select 1 from audit_event where sequence = new.size - 1 and hash = new.hash
    )
begin
    select raise(abort, 'the head of the history only grows, with the event that it names');
end;

create trigger audit_head_no_delete before delete on audit_head
begin
    select raise(abort, 'the head of the history stays');
end;
