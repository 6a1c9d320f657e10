-- Deliveries of Git hosts, once each. Times are microseconds UTC.
create table delivery (
    id text primary key,
    webhook text not null,
    event text not null,
    repository text,
    git_ref text,
    revision_before text,
    revision_after text,
    commits text not null,
    forced bigint not null,
    pusher text,
    body_sha256 text not null,
    received_at bigint not null,
    recorded_at bigint not null
);

create index delivery_by_ref on delivery (repository, git_ref, received_at);

-- What every stack is asked for, and how far it got: there is work where wanted > done.
create table stack_state (
    stack text primary key,
    target text not null,
    wanted bigint not null,
    done bigint not null,
    attempt bigint not null,
    not_before bigint not null,
    pending_trigger text,
    settled text,
    settled_at bigint,
    settled_run text,
    last_status text,
    last_run text,
    last_revision text,
    last_success_at bigint,
    problem text,
    -- Since when deletions are held back.
    held_since bigint,
    drifted bigint not null,
    drift_checked_at bigint,
    -- Names the state of drift that is on record.
    drift_seen text
);

create index stack_state_by_target on stack_state (target);

-- Which stacks a delivery concerns, and the value of wanted that stands for it.
create table delivery_stack (
    delivery text not null references delivery (id),
    stack text not null,
    generation bigint not null,
    primary key (stack, generation)
);

create index delivery_stack_by_delivery on delivery_stack (delivery);
