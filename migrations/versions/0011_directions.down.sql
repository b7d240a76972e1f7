-- Without directions these embeddings tell nothing. Scores stay, and the next factorisation asks for none of them again.
update pgretrieval.collection set factorization_id = null
where factorization_id in (select factorization_id from pgretrieval.anchor_item where direction is not null);
alter table pgretrieval.anchor_item drop column direction cascade;
