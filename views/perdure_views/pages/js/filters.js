// A list's filter: the chips are clauses of the same query that can be typed.
const NAMES = {
  running: "Running", completed: "Completed", failed: "Failed", canceled: "Canceled", blocked: "Blocked",
  terminated: "Terminated", timed_out: "TimedOut", continued_as_new: "ContinuedAsNew",
};

export function quoted(text) {
  return `'${text.replaceAll("'", "''")}'`;
}

export function queryOf({ status, type, id, query }) {
  const clauses = [];
  if (status) clauses.push(`ExecutionStatus = ${quoted(NAMES[status] ?? status)}`);
  if (type) clauses.push(`WorkflowType = ${quoted(type)}`);
  if (id) clauses.push(`WorkflowId STARTS_WITH ${quoted(id)}`);
  if (query) clauses.push(clauses.length ? `(${query})` : query);
  return clauses.join(" AND ");
}
