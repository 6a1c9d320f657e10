-- Masked bodies by the hash of their canonical JSON. Text, because the hash is over the text.
create table body (
    digest text primary key,
    content text not null
);

create table run (
    id text primary key,
    stack text not null,
    target text not null,
    trigger text not null,
    status text not null,
    revision text,
    previous text,
    claimed bigint not null,
    attempt bigint not null,
    started_at bigint not null,
    finished_at bigint,
    plan_hash text,
    plan text,
    commits text not null,
    pusher text,
    worker text not null,
    fence bigint not null,
    version text not null,
    gateway_version text,
    message text,
    changes bigint not null
);

-- One run at a time writes to a target, and an intent without an outcome bars the next one.
create unique index run_open on run (target) where status = 'running';
create index run_by_time on run (started_at, id);
create index run_by_stack on run (stack, started_at, id);
create index run_by_revision on run (stack, revision);

create table run_delivery (
    run text not null references run (id),
    delivery text not null,
    primary key (run, delivery)
);

create table change (
    run text not null references run (id),
    position bigint not null,
    object text not null,
    action text not null,
    reason text not null,
    body_before text,
    body_after text,
    fields text not null,
    outcome text not null,
    message text,
    primary key (run, position)
);

create index change_by_object on change (object, run);
create index change_deletes on change (run) where action = 'delete';

-- Previous bodies as they were, sealed by the program; a row lives as long as its run is open.
create table undo (
    run text not null references run (id),
    position bigint not null,
    object text not null,
    sealed bytea not null,
    primary key (run, position)
);

-- Refuses what it is put on; its argument says why.
create function refuse() returns trigger language plpgsql as $$
begin
    raise exception '%', tg_argv[0] using errcode = 'restrict_violation';
end
$$;

create trigger body_no_update before update on body
for each row execute function refuse('a body is never changed');
