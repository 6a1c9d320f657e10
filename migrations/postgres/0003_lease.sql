-- Who may talk to a target. The fence grows with every new holder and never falls, so a row stays
-- when its lease ends. "until" is by the database's clock.
create table lease (
    target text primary key,
    owner text not null,
    fence bigint not null,
    since bigint not null,
    until bigint not null
);
