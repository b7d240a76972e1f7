-- Whether the Python client can read what a collection says of its encoder: an object of texts with one of the kinds, or null.
create or replace function pgretrieval.is_encoder(encoder jsonb) returns boolean
language sql immutable parallel safe
begin atomic
    select case
        when encoder is null then true
        when jsonb_typeof(encoder) <> 'object' then false
        when jsonb_path_exists(encoder, '$.* ? (@.type() != "string")') then false
        when encoder ->> 'kind' = 'model' then coalesce(encoder ->> 'name', '') ~ '\S'
        else coalesce(encoder ->> 'kind' in ('minilm', 'object', 'none'), false)
    end;
end;
