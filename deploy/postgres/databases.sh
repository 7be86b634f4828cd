#!/bin/sh
# Runs once, when the server's folder is new: a database and an account for each service, closed to the others.
set -e
for name in crm inventory integration; do
    psql --quiet --username=postgres --dbname=postgres --set=ON_ERROR_STOP=1 \
        --set=name="$name" --set=password="$POSTGRES_PASSWORD" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
