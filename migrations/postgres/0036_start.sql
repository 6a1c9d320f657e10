-- What the configuration said when it was loaded last, by key: a JSON object from the dotted key to
-- a keyed hash of its value. One row.
create table config_loaded (
    id bigint primary key check (id = 1),
    keys text not null
);

-- The migrations that the history tells of.
create table migration_told (
    version bigint primary key
);
