-- Who wants to be told of the history's news, and how far each was told: the cursor is the last
-- event that was told or passed over. Times are microseconds UTC.
create table sink (
    name text primary key,
    cursor bigint not null,
    attempt bigint not null,
    not_before bigint not null,
    problem text,
    failing_since bigint,
    told_at bigint
);
