-- Roles on PostgreSQL, each with what it needs and no more. Run it as the owner of the tables, who migrates them, after every
-- migration:  psql shop -f deploy/roles.sql
-- Then give them to the users that your processes log in as:  GRANT celery_jobs_worker TO shop_worker;
--
--   celery_jobs_producer   enqueues: web processes, scripts
--   celery_jobs_worker     workers and beat, whose services also delete what is old
--   celery_jobs_dashboard  Flower, and who uses the command line
--   celery_jobs_reader     looks; never at what jobs are called with, nor at tokens

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['producer', 'worker', 'dashboard', 'reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'celery_jobs_' || name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', 'celery_jobs_' || name);
        END IF;
    END LOOP;
END $$;

GRANT SELECT ON celery_jobs_version TO celery_jobs_producer, celery_jobs_worker, celery_jobs_dashboard, celery_jobs_reader;

GRANT SELECT, INSERT, UPDATE ON jobs, messages TO celery_jobs_producer;
GRANT SELECT ON queues TO celery_jobs_producer;

GRANT SELECT, INSERT, UPDATE, DELETE
    ON jobs, messages, responses, queues, places, starts, alerts, workers, services, ticks, schedules
    TO celery_jobs_worker, celery_jobs_dashboard;
GRANT SELECT, DELETE ON audit TO celery_jobs_worker;
GRANT SELECT, INSERT, UPDATE ON tokens TO celery_jobs_dashboard;
-- What was done, to what and by whom is written once; only how it goes on is noted.
REVOKE UPDATE ON audit FROM celery_jobs_dashboard;
GRANT SELECT, INSERT, UPDATE (matched, done, skipped, result, error, updated_at, finished_at, stop_requested_at)
    ON audit TO celery_jobs_dashboard;

GRANT SELECT ON jobs, responses, queues, places, starts, alerts, workers, services, ticks, schedules, audit
    TO celery_jobs_reader;

-- A pause waits for claims that had begun, and a stream of events for transactions at work: whoever they are of.
GRANT pg_read_all_stats TO celery_jobs_worker, celery_jobs_dashboard, celery_jobs_reader;
