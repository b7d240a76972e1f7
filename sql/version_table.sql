-- The revision of the schema, in the form that alembic gives such a table.
create table if not exists pgretrieval.schema_version (
    version_num varchar(32) not null,
    constraint schema_version_pkc primary key (version_num)
);
