-- Nothing here: an insert takes no row out in Postgres, and its generated columns are stored. In SQLite
-- both cost more than they had to.
select 1;
