-- Changes of tables of every kind that one session can make.
create table t (a int primary key, b text, c int) with (fillfactor = 90);
create index on t (c);
insert into t select n, 'row ' || n || repeat('x', n % 50), n % 7 from generate_series(1, 3000) n;
vacuum (truncate false) t;
-- To pages that are all-visible, in the map as well.
update t set b = b || 'y' where a % 3 = 0;
update t set c = c + 10 where a % 11 = 0;
delete from t where a % 5 = 0;
select count(*) from t where b like '%y';
-- Locks, on frozen pages too, and by a multixact.
vacuum (freeze, truncate false) t;
begin;
select count(*) from (select * from t where a % 13 = 1 for update) as locked;
rollback;
begin;
select a from t where a = 2 for share;
savepoint s;
select a from t where a = 2 for update;
update t set b = 'in a savepoint' where a = 2;
release s;
commit;
-- Pruning while it is read, over and over on the same rows.
create table hot (a int primary key, b text) with (fillfactor = 50);
insert into hot select n, 'v0' from generate_series(1, 400) n;
update hot set b = 'v1';
update hot set b = 'v2';
select count(*) from hot;
update hot set b = 'v3 ' || repeat('z', 30);
update hot set b = 'v4 ' || repeat('z', 60) where a % 2 = 0;
select count(*) from hot;
delete from hot where a > 200;
checkpoint;
update hot set b = 'v5' where a % 3 = 0;
vacuum (truncate false) hot;
insert into hot select n, 'again' from generate_series(201, 300) n;
-- Speculative insertions.
insert into t values (1, 'conflict', 1), (5000, 'none', 1) on conflict (a) do nothing;
insert into t values (1, 'conflict', 1), (5001, 'none', 1)
    on conflict (a) do update set b = excluded.b || ' solved';
-- Rows that go to another partition.
create table parts (a int, b text) partition by list (a);
create table part1 partition of parts for values in (1);
create table part2 partition of parts for values in (2);
insert into parts select 1, 'part ' || n from generate_series(1, 100) n;
update parts set a = 2 where b like '%7';
-- Large values, and large sets by COPY.
create table large (a int, b text);
alter table large alter column b set storage external;
insert into large select n, repeat(md5(n::text), 300) from generate_series(1, 20) n;
update large set b = b || 'more' where a % 4 = 0;
copy t to 'PLACE';
create table loaded (like t);
copy loaded from 'PLACE';
copy loaded from 'PLACE';
begin;
create table frozen (like t);
copy frozen from 'PLACE' (freeze);
commit;
-- Frozen pages that change.
update frozen set c = c + 1 where a % 50 = 0;
delete from frozen where a % 70 = 0;
-- Hints after a checkpoint.
delete from loaded where a % 2 = 0;
checkpoint;
select count(*) from loaded;
vacuum (truncate false) loaded;
-- Aborted work.
begin;
insert into loaded select * from t;
update t set b = 'aborted' where a < 100;
rollback;
analyze;
alter table t add column d int default 7;
update t set d = 8 where a < 50;
begin;
insert into t values (9000, 'unfinished', 0, 0);
