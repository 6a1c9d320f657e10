-- The local queue. A message leaves when it is acknowledged; one that cannot be read is set aside.
create table queue_message (
    number integer primary key autoincrement,
    id text not null unique,
    payload blob not null,
    put_at integer not null,
    visible_at integer not null,
    deliveries integer not null,
    set_aside_at integer,
    set_aside_reason text
) strict;

create index queue_message_waiting on queue_message (number) where set_aside_at is null;
