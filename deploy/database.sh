#!/bin/sh
# Run once by the database's container, on an empty volume: who may connect, and to what. The
# servers' logins get their rights from `shop db grants`, after every migration.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set owner="$SHOP_OWNER_PASSWORD" --set servers="$SHOP_SERVERS_PASSWORD" \
    --set identity="$KEYCLOAK_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE shop_owner LOGIN CREATEROLE PASSWORD :'owner';
CREATE DATABASE shop OWNER shop_owner TEMPLATE template0 ENCODING 'UTF8';
CREATE ROLE shop_inventory LOGIN NOINHERIT PASSWORD :'servers';
CREATE ROLE shop_orders LOGIN NOINHERIT PASSWORD :'servers';
CREATE ROLE shop_logistics LOGIN NOINHERIT PASSWORD :'servers';
CREATE ROLE shop_returns LOGIN NOINHERIT PASSWORD :'servers';
CREATE ROLE shop_claims LOGIN NOINHERIT PASSWORD :'servers';
CREATE ROLE shop_payments LOGIN NOINHERIT PASSWORD :'servers';
CREATE ROLE shop_storefront LOGIN NOINHERIT PASSWORD :'servers';
CREATE ROLE shop_keeper LOGIN NOINHERIT PASSWORD :'servers';
CREATE ROLE shop_reader LOGIN NOINHERIT PASSWORD :'servers';
CREATE ROLE keycloak LOGIN PASSWORD :'identity';
CREATE DATABASE keycloak OWNER keycloak TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE keycloak FROM PUBLIC;
SQL
