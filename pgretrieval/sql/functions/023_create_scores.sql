-- The partition for the scores of one matrix, unless it is there.
create or replace function pgretrieval.create_scores(in_matrix integer) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    partition text := 'anchor_score_' || in_matrix;
begin
    if to_regclass(format('pgretrieval.%I', partition)) is not null then
        return;
    end if;
    execute format('create table pgretrieval.%I (like pgretrieval.anchor_score including all)', partition);
    execute format('alter table pgretrieval.%I add constraint one_matrix check (matrix_id = %s)', partition, in_matrix);
    execute format('alter table pgretrieval.anchor_score attach partition pgretrieval.%I for values in (%s)', partition, in_matrix);
    execute format('alter table pgretrieval.%I drop constraint one_matrix', partition);
end
$function$;
