-- What stays of events that left the history: their hashes, the leaves of its tree.
create table audit_leaf (
    sequence bigint primary key check (sequence >= 0),
    hash text not null,
    -- Of an event that named a signing key, because checkpoints are verified by it for ever.
    header text,
    payload text
);

create index audit_leaf_by_key on audit_leaf (sequence) where header is not null;

create function audit_leaf_of_event() returns trigger language plpgsql as $$
begin
    if not exists (
        select 1 from audit_event where sequence = new.sequence and hash = new.hash
    ) then
        raise exception 'a leaf is the hash of an event'
            using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

create trigger audit_leaf_no_insert before insert on audit_leaf
for each row execute function audit_leaf_of_event();

create trigger audit_leaf_no_update before update on audit_leaf
for each row execute function refuse('the tree of the history is append-only');

create trigger audit_leaf_no_delete before delete on audit_leaf
for each row execute function refuse('the tree of the history is append-only');

create trigger audit_leaf_no_truncate before truncate on audit_leaf
for each statement execute function refuse('the tree of the history is append-only');

create function audit_event_leaves() returns trigger language plpgsql as $$
begin
    if not exists (
        select 1 from audit_leaf where sequence = old.sequence and hash = old.hash
    ) then
        raise exception 'the history is append-only'
            using errcode = 'restrict_violation';
    end if;
    return old;
end
$$;

-- The history in parts of 1,048,576 events each. What was there before is the first.
drop trigger audit_event_no_update on audit_event;
drop trigger audit_event_no_delete on audit_event;
drop trigger audit_event_no_truncate on audit_event;
-- A part that others refer to cannot leave. `lockstep audit verify` names a person without an event.
alter table audit_person drop constraint audit_person_sequence_fkey;
alter table audit_event rename to audit_event_before;

do $$
declare
    name text;
begin
    for name in
        select indexname from pg_indexes
        where schemaname = current_schema() and tablename = 'audit_event_before'
    loop
        execute format(
            'alter index %I rename to %I', name, replace(name, 'audit_event', 'audit_event_before')
        );
    end loop;
end
$$;

create table audit_event (
    like audit_event_before including all excluding indexes,
    primary key (sequence)
) partition by range (sequence);

create index audit_event_by_time on audit_event (at, sequence);
create index audit_event_by_type on audit_event (type, sequence);
create index audit_event_by_target on audit_event (target, sequence);
create index audit_event_by_stack on audit_event (stack, sequence);
create index audit_event_by_object on audit_event (object, sequence);
create index audit_event_by_run on audit_event (run, sequence);
create index audit_event_by_pushed on audit_event (pushed, sequence) where pushed is not null;
create index audit_event_by_actor on audit_event (actor_id, sequence);

create trigger audit_event_no_update before update on audit_event
for each row execute function refuse('the history is append-only');

create trigger audit_event_no_delete before delete on audit_event
for each row execute function audit_event_leaves();

create trigger audit_event_no_truncate before truncate on audit_event
for each statement execute function refuse('the history is append-only');

create trigger audit_event_no_truncate before truncate on audit_event_before
for each statement execute function refuse('the history is append-only');

-- A part is named by its place, the first by that of the last that it stands for.
do $$
declare
    part constant bigint := (select size / 1048576 from audit_head where id = 1);
begin
    execute format('alter table audit_event_before rename to %I', 'audit_event_' || part);
    execute format(
        'alter table audit_event attach partition %I for values from (minvalue) to (%s)',
        'audit_event_' || part, (part + 1) * 1048576
    );
end
$$;

-- Makes the parts up to an event's, as the owner of the tables: who serves makes none. Never further
-- than one ahead of the history. Attaching keeps no reader waiting.
create function audit_event_room(wanted bigint) returns void language plpgsql security definer as $$
declare
    size constant bigint := (select audit_head.size from audit_head where id = 1);
    name text;
begin
    for part in size / 1048576 .. least(wanted, size + 1048576) / 1048576 loop
        name := 'audit_event_' || part;
        if to_regclass(name) is null then
            execute format('create table %I (like audit_event including all)', name);
            execute format(
                'create trigger audit_event_no_truncate before truncate on %I '
                'for each statement execute function refuse(%L)',
                name, 'the history is append-only'
            );
            execute format(
                'alter table audit_event attach partition %I for values from (%s) to (%s)',
                name, part * 1048576, (part + 1) * 1048576
            );
        end if;
    end loop;
end
$$;

revoke all on function audit_event_room(bigint) from public;

do $$
begin
    execute format(
        'alter function audit_event_room(bigint) set search_path = %I, pg_temp', current_schema()
    );
end
$$;
