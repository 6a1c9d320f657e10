-- The history. What one filters by is computed from the hashed header, so that it cannot be made
-- to say something else than the header says.
create table audit_event (
    sequence bigint primary key check (sequence >= 0),
    header text not null,
    payload text not null,
    previous text not null,
    hash text not null,
    at bigint generated always as (cast(header::jsonb ->> 'at' as bigint)) stored,
    type text generated always as (header::jsonb ->> 'type') stored,
    actor_kind text generated always as (header::jsonb #>> '{actor,kind}') stored,
    actor_id text generated always as (header::jsonb #>> '{actor,id}') stored,
    target text generated always as (header::jsonb ->> 'target') stored,
    stack text generated always as (header::jsonb ->> 'stack') stored,
    object text generated always as (header::jsonb ->> 'object') stored,
    run text generated always as (header::jsonb ->> 'run') stored
);

create index audit_event_by_time on audit_event (at, sequence);
create index audit_event_by_type on audit_event (type, sequence);
create index audit_event_by_target on audit_event (target, sequence);
create index audit_event_by_stack on audit_event (stack, sequence);
create index audit_event_by_object on audit_event (object, sequence);
create index audit_event_by_run on audit_event (run, sequence);

-- What the commitments in the payloads stand for. The one part of the history that may be erased.
create table audit_person (
    commitment text primary key,
    sequence bigint not null references audit_event (sequence),
    position bigint not null,
    salt bytea not null,
    value text not null
);

create index audit_person_by_sequence on audit_person (sequence, position);

-- How long the history is, and the hash of its last event. One row.
create table audit_head (
    id bigint primary key check (id = 1),
    size bigint not null,
    hash text not null
);

insert into audit_head (id, size, hash)
values (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

create trigger audit_event_no_update before update on audit_event
for each row execute function refuse('the history is append-only');

create trigger audit_event_no_delete before delete on audit_event
for each row execute function refuse('the history is append-only');

create trigger audit_event_no_truncate before truncate on audit_event
for each statement execute function refuse('the history is append-only');

create trigger audit_person_no_update before update on audit_person
for each row execute function refuse('what a commitment stands for is erased, never changed');

create trigger audit_person_no_truncate before truncate on audit_person
for each statement execute function refuse('people are erased one by one');

create function audit_head_grows() returns trigger language plpgsql as $$
begin
    if new.id <> old.id
        or new.size <= old.size
        or not exists (
            select 1 from audit_event where sequence = new.size - 1 and hash = new.hash
        )
    then
        raise exception 'the head of the history only grows, with the event that it names'
            using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

create trigger audit_head_no_update before update on audit_head
for each row execute function audit_head_grows();

create trigger audit_head_no_delete before delete on audit_head
for each row execute function refuse('the head of the history stays');

create trigger audit_head_no_truncate before truncate on audit_head
for each statement execute function refuse('the head of the history stays');
