-- What this installation is: which key masks and seals for it. One row.
create table installation (
    id integer primary key check (id = 1),
    key_fingerprint text not null
) strict;

-- The database's own clock, in microseconds UTC. Leases alone are judged by it; every other time
-- comes from the program.
create view clock as select cast(unixepoch('subsec') * 1000000 as integer) as now;
