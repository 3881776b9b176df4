\set VERBOSITY terse
-- Ordinary work: one page images are uncompressed.
CREATE TABLE account (id int PRIMARY KEY, owner text, balance int) WITH (fillfactor = 60);
INSERT INTO account SELECT n, 'owner ' || n % 10, n FROM generate_series(1, 3000) n;
CHECKPOINT;
UPDATE account SET balance = balance + 1 WHERE id % 3 = 0;
UPDATE account SET id = id + 100000 WHERE id % 7 = 0;
UPDATE account SET owner = repeat('long ', 1000) WHERE id = 5;
DELETE FROM account WHERE id % 11 = 0;
SELECT count(*) FROM account;
VACUUM account;
VACUUM FREEZE account;
INSERT INTO account SELECT n, 'again', n FROM generate_series(4000, 4100) n;
UPDATE account SET balance = 0 WHERE id < 50;
UPDATE account SET balance = 1 WHERE id < 50;
SELECT count(*) FROM account WHERE id < 50;
ANALYZE account;

-- Locks, and several lockers of one row.
BEGIN;
SELECT id FROM account WHERE id IN (1, 2) FOR KEY SHARE;
SELECT id FROM account WHERE id IN (1, 2) FOR UPDATE;
SAVEPOINT s;
SELECT id FROM account WHERE id = 4 FOR SHARE;
RELEASE s;
COMMIT;
BEGIN;
SELECT id FROM account WHERE id = 8 FOR KEY SHARE;
SAVEPOINT s;
UPDATE account SET balance = -1 WHERE id = 8;
SAVEPOINT t;
SELECT id FROM account WHERE id = 8 FOR UPDATE;
COMMIT;
VACUUM (FREEZE) account;
CREATE EXTENSION dblink;
BEGIN;
UPDATE account SET balance = -2 WHERE id = 10;
-- Another session locks the row and its new version.
SELECT * FROM dblink(
    format('dbname=postgres user=postgres host=%s', current_setting('unix_socket_directories')),
    'SELECT id FROM account WHERE id = 10 FOR KEY SHARE') AS locked (id int);
COMMIT;

-- A transaction that fails, subtransactions, and more of them than fit in shared memory.
BEGIN;
CREATE TABLE gone (a int);
INSERT INTO gone VALUES (1);
ROLLBACK;
BEGIN;
INSERT INTO account VALUES (200000, 'kept', 1);
SAVEPOINT s;
INSERT INTO account VALUES (200001, 'lost', 1);
ROLLBACK TO s;
INSERT INTO account VALUES (200002, 'kept', 1);
COMMIT;
DO $$
BEGIN
    FOR n IN 1..150 LOOP
        BEGIN
            INSERT INTO account VALUES (300000 + n, 'sub', n);
            IF n % 50 = 0 THEN
                RAISE EXCEPTION 'lost';
            END IF;
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END LOOP;
    PERFORM pg_log_standby_snapshot();
END
$$;

-- Many rows at once; into a table of the same transaction; frozen; speculatively.
CREATE TABLE copied (a int, b text, c bytea);
COPY copied FROM PROGRAM 'seq 1 5000 | sed "s/.*/&\tline &\t\\\\\\\\x0001/"';
BEGIN;
TRUNCATE copied;
COPY copied FROM PROGRAM 'seq 1 5000 | sed "s/.*/&\tline &\t\\\\N/"' WITH (FREEZE);
COMMIT;
VACUUM copied;
DELETE FROM copied WHERE a > 2500;
VACUUM copied;
INSERT INTO account VALUES (1, 'conflict', 0) ON CONFLICT (id) DO UPDATE SET balance = 77;
INSERT INTO account VALUES (500000, 'none', 0) ON CONFLICT (id) DO NOTHING;

-- Indexes: splits, deduplication, deletion of tuples and of pages.
CREATE TABLE indexed (a int, b text);
CREATE INDEX indexed_a ON indexed (a);
CREATE INDEX indexed_b ON indexed (b);
INSERT INTO indexed SELECT n, 'key ' || n % 20 FROM generate_series(1, 8000) n;
DELETE FROM indexed WHERE a BETWEEN 500 AND 7500;
VACUUM indexed;
VACUUM indexed;
INSERT INTO indexed SELECT n, 'key ' || n % 20 FROM generate_series(1, 8000) n;
DELETE FROM indexed WHERE a % 2 = 0;
VACUUM indexed;
CREATE UNIQUE INDEX account_owner_id ON account (owner, id);
UPDATE account SET balance = balance + 1, owner = owner WHERE id < 1000;
DO $$
BEGIN
    FOR n IN 1..40 LOOP
        UPDATE indexed SET a = a + 1 WHERE a < 60;
    END LOOP;
END
$$;
REINDEX INDEX indexed_a;

-- Sequences, TOAST, large values.
CREATE SEQUENCE counter;
SELECT nextval('counter') FROM generate_series(1, 100);
SELECT setval('counter', 1000);
CREATE TABLE wide (a serial, b text STORAGE EXTERNAL);
INSERT INTO wide (b) SELECT repeat(n::text, 20000) FROM generate_series(1, 3) n;
DELETE FROM wide WHERE a = 2;

-- Definitions.
ALTER TABLE account ADD COLUMN extra int DEFAULT 7;
ALTER TABLE account ALTER COLUMN balance TYPE bigint;
CREATE VIEW seen AS SELECT * FROM account;
DROP TABLE wide;
TRUNCATE account;
VACUUM FULL pg_class;
CREATE TABLESPACE elsewhere LOCATION '';
CREATE TABLE away (a int) TABLESPACE elsewhere;
INSERT INTO away VALUES (1);
DROP TABLE away;
DROP TABLESPACE elsewhere;
CREATE DATABASE by_log STRATEGY wal_log;
CREATE DATABASE by_copy STRATEGY file_copy;
DROP DATABASE by_copy;

-- The log itself.
SELECT pg_create_restore_point('a point');
SELECT pg_backup_start('a backup', true);
SELECT pg_backup_stop(false);
ALTER SYSTEM SET full_page_writes = off;
SELECT pg_reload_conf();
SELECT pg_sleep(0.2);
CHECKPOINT;
ALTER SYSTEM RESET full_page_writes;
SELECT pg_reload_conf();
SELECT pg_sleep(0.2);
CHECKPOINT;
SELECT pg_switch_wal();

-- What is not described.
CREATE TABLE other (a int, b int[]);
CREATE INDEX ON other USING hash (a);
CREATE INDEX ON other USING gin (b);
CREATE INDEX ON other USING brin (a);
INSERT INTO other SELECT n, ARRAY[n] FROM generate_series(1, 100) n;
