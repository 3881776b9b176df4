\set VERBOSITY terse
-- What only logical decoding needs; page images are compressed.
CREATE TABLE replicated (id int PRIMARY KEY, a text, b int);
ALTER TABLE replicated REPLICA IDENTITY FULL;
INSERT INTO replicated SELECT n, 'text ' || n, n FROM generate_series(1, 2000) n;
CHECKPOINT;
UPDATE replicated SET b = b + 1;
UPDATE replicated SET id = id + 10000 WHERE id % 2 = 0;
DELETE FROM replicated WHERE id % 5 = 0;
VACUUM replicated;
CHECKPOINT;
VACUUM FREEZE replicated;
CHECKPOINT;
INSERT INTO replicated SELECT n, repeat('x', n), n FROM generate_series(3000, 3100) n;
SELECT count(*) FROM replicated;
CREATE TABLE keyed (id int PRIMARY KEY, a text);
INSERT INTO keyed SELECT n, 'a' FROM generate_series(1, 100) n;
UPDATE keyed SET id = id + 1000 WHERE id < 10;
UPDATE keyed SET a = 'b' WHERE id < 50;
DELETE FROM keyed WHERE id > 90;
TRUNCATE keyed, replicated RESTART IDENTITY CASCADE;
BEGIN;
CREATE TABLE made (a int);
SAVEPOINT s;
ALTER TABLE made ADD b int;
INSERT INTO made VALUES (1, 2);
ROLLBACK TO s;
INSERT INTO made VALUES (1);
COMMIT;
DO $$
BEGIN
    FOR n IN 1..150 LOOP
        BEGIN
            INSERT INTO keyed VALUES (n, 'sub');
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END LOOP;
END
$$;
SELECT pg_logical_emit_message(true, 'prefix', 'message');

-- Two phases.
BEGIN;
CREATE TABLE prepared (a int);
INSERT INTO prepared VALUES (1);
SAVEPOINT s;
INSERT INTO keyed VALUES (5000, 'prepared');
PREPARE TRANSACTION 'first one';
COMMIT PREPARED 'first one';
BEGIN;
INSERT INTO keyed VALUES (6000, 'prepared');
DROP TABLE prepared;
PREPARE TRANSACTION 'second one';
ROLLBACK PREPARED 'second one';

-- A replicated transaction.
SELECT pg_replication_origin_create('origin');
SELECT pg_replication_origin_session_setup('origin');
BEGIN;
SELECT pg_replication_origin_xact_setup('1/2345', '2020-01-02 03:04:05.678+00');
INSERT INTO keyed VALUES (7000, 'from elsewhere');
COMMIT;
SELECT pg_replication_origin_session_reset();
SELECT pg_replication_origin_advance('origin', '1/3000');
DROP TABLE made;
INSERT INTO keyed SELECT n, repeat('y', 100) FROM generate_series(10000, 12000) n;
