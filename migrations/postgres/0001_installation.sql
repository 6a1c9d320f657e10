-- What this installation is: which key masks and seals for it. One row.
create table installation (
    id bigint primary key check (id = 1),
    key_fingerprint text not null
);

-- The database's own clock, in microseconds UTC. Leases alone are judged by it; every other time
-- comes from the program.
create view clock as
select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as now;
