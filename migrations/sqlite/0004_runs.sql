-- Masked bodies by the hash of their canonical JSON. Text, because the hash is over the text.
create table body (
    digest text primary key,
    content text not null
) strict;

create table run (
    id text primary key,
    stack text not null,
    target text not null,
    trigger text not null,
    status text not null,
    revision text,
    previous text,
    claimed integer not null,
    attempt integer not null,
    started_at integer not null,
    finished_at integer,
    plan_hash text,
    plan text,
    commits text not null,
    pusher text,
    worker text not null,
    fence integer not null,
    version text not null,
    gateway_version text,
    message text,
    changes integer not null
) strict;

-- One run at a time writes to a target, and an intent without an outcome bars the next one.
create unique index run_open on run (target) where status = 'running';
create index run_by_time on run (started_at, id);
create index run_by_stack on run (stack, started_at, id);
create index run_by_revision on run (stack, revision);

create table run_delivery (
    run text not null references run (id),
    delivery text not null,
    primary key (run, delivery)
) strict;

create table change (
    run text not null references run (id),
    position integer not null,
    object text not null,
    action text not null,
    reason text not null,
    body_before text,
    body_after text,
    fields text not null,
    outcome text not null,
    message text,
    primary key (run, position)
) strict;

create index change_by_object on change (object, run);
create index change_deletes on change (run) where action = 'delete';

-- Previous bodies as they were, sealed by the program; a row lives as long as its run is open.
create table undo (
    run text not null references run (id),
    position integer not null,
    object text not null,
    sealed blob not null,
    primary key (run, position)
) strict;

create trigger body_no_update before update on body
begin
    select raise(abort, 'a body is never changed');
end;

-- "insert or replace" fires no trigger for the row that it takes out.
create trigger body_no_insert before insert on body
when exists (select 1 from body where digest = new.digest and content <> new.content)
begin
    select raise(abort, 'a body is never changed');
end;
