#!/bin/sh
# A database and an account for each service, closed to the others. It runs by itself when the server's folder is
# new. Run again, it sets the passwords anew.
set -e
for name in crm inventory integration; do
    # PASSWORDS is a folder with a file for each; in development all have the server's own.
    if [ -n "$PASSWORDS" ]; then
        password=$(cat "$PASSWORDS/${name}_postgres_password")
    else
        password=$POSTGRES_PASSWORD
    fi
    # Not as an argument, which any process of the machine may read.
    PASSWORD=$password psql --quiet --username=postgres --dbname=postgres --set=ON_ERROR_STOP=1 --set=name="$name" <<'SQL'
\getenv password PASSWORD
SET password_encryption = 'scram-sha-256';
SELECT format('CREATE ROLE %I LOGIN', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE ALL ON DATABASE :"name", postgres, template1 FROM PUBLIC;
SQL
done
unset password
