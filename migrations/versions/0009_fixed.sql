-- Collections whose passages all have the same number of vectors (ConstBERT).

alter table pgretrieval.collection add column vectors_per_passage integer check (vectors_per_passage > 0);
comment on column pgretrieval.collection.vectors_per_passage is 'How many vectors every passage has; null where that differs.';

alter table pgretrieval.rebuild add column vectors_per_passage integer;
comment on column pgretrieval.rebuild.vectors_per_passage is 'What the collection''s number becomes at the switch.';
