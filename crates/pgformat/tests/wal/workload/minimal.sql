\set VERBOSITY terse
-- After a crash. Redo would compare each page with an image.
CREATE TABLE checked (a int PRIMARY KEY, b text);
INSERT INTO checked SELECT n, 'checked' FROM generate_series(1, 500) n;
UPDATE checked SET b = 'again' WHERE a % 2 = 0;
DELETE FROM checked WHERE a % 3 = 0;
VACUUM checked;
