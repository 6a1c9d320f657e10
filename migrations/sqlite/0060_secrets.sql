-- 1 where every text of what was observed was hidden, because secrets may stand in it.
alter table inventory add column hidden integer not null default 0;
