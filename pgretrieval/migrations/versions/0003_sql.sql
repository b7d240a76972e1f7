-- What applications in SQL need: vectors that stay beside the codes, and an index over metadata.

drop function if exists pgretrieval.create_collection(text, integer, jsonb, integer, text, text);

alter table pgretrieval.collection add column keep_vectors boolean not null default false;
comment on column pgretrieval.collection.keep_vectors is
    'Whether token vectors stay after a build, so that scores are those of the vectors themselves and not of their codes.';
comment on table pgretrieval.token_vector is
    'Half-precision token vectors: of passages that are not coded yet, and of all passages where the collection keeps them.';

create index passage_metadata on pgretrieval.passage using gin (metadata jsonb_path_ops);
