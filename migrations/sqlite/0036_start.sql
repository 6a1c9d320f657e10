-- What the configuration said when it was loaded last, by key: a JSON object from the dotted key to
-- a keyed hash of its value. One row.
create table config_loaded (
    id integer primary key check (id = 1),
    keys text not null
) strict;

-- The migrations that the history tells of.
create table migration_told (
    version integer primary key
) strict;
