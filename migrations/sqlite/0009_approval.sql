-- What waits for an approval on a stack: the held part of its last plan, as a plan of its own.
create table parked (
    stack text not null,
    -- Empty for a target of one node.
    node text not null,
    target text not null,
    -- The run that found it first, and the last one that found it equal.
    run text not null,
    last_run text not null,
    plan_hash text not null,
    -- JSON, because the hash alone could not say what differs later.
    plan text not null,
    since integer not null,
    -- JSON: who pushed or wrote it, and everything since. Their approval does not count.
    people text not null,
    primary key (stack, node)
) strict;

-- What people decided on a plan that waits, or did. A row is used up by the run that carries it
-- out, and void when the plan is another; then it counts no more.
create table approval (
    id text primary key,
    stack text not null,
    plan_hash text not null,
    -- The run that was named.
    run text not null,
    choice text not null check (choice in ('approve', 'reject')),
    -- The name of a person of the configuration; null without a token.
    person text,
    -- What the operating system says of whoever had no token.
    actor text,
    reason text not null,
    at integer not null,
    expires_at integer not null,
    used_by text,
    voided_at integer,
    check ((person is null) <> (actor is null))
) strict;

create index approval_by_plan on approval (stack, plan_hash, at, id);

-- Tokens for the API. Only a hash of each is kept.
create table token (
    id text primary key,
    person text not null,
    hash blob not null,
    scopes text not null,
    note text,
    created_at integer not null,
    expires_at integer not null,
    revoked_at integer,
    last_used_at integer
) strict;
