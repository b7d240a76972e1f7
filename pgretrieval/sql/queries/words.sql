-- name: text_search
select rank, id, score, title, body, metadata
from pgretrieval.text_search(%(name)s, %(query_text)s, %(k)s, %(filter)s::jsonpath, {among})

-- name: hybrid_search
select rank, id, score, title, body, metadata
from pgretrieval.hybrid_search(
    %(name)s, %(query)s, %(query_text)s, %(k)s, filter => %(filter)s::jsonpath, among => {among},
    rank_constant => %(rank_constant)s, weights => %(weights)s::real[]
)
