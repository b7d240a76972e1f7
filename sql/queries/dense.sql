
-- name: dense_search
select rank, id, score, title, body, metadata
from pgretrieval.dense_search(%(name)s, %(query)s, %(k)s, %(filter)s::jsonpath, {among})
