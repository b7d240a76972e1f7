-- Item embeddings whose variance is the same in every direction.

alter table pgretrieval.anchor_item add column direction vector;
alter table pgretrieval.anchor_item alter column direction set storage external;
comment on column pgretrieval.anchor_item.direction is
    'One row of a symmetric matrix by which a query''s anchor scores become its query vector: the inner product with all of them is the number at this place. Null throughout where anchor scores are themselves the query vector.';
comment on table pgretrieval.item_embedding is
    'One vector per passage whose inner product with a query vector, made of a query''s scores of the anchor items, estimates the passage''s score, up to that of factorization.centre. Passages that came since have none until they are scored.';
comment on table pgretrieval.factorization is
    'One choice of anchor items and what makes item embeddings of scores. inverse (anchor items x anchor queries, little-endian double precision) is U, multiplied by the inverse of the anchor items'' directions; intersection is C (anchor queries x anchor items), the anchor items'' scores, in single precision. centre is what all item embeddings have in common, and is not in them. The regularisation, errors and recall are of held-out anchor queries; split is how many calls of a budget go to anchors, by budget.';
