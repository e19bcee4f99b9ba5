// A list's filter: the chips are clauses of the same query that can be typed.
const NAMES = {
  running: "Running", completed: "Completed", failed: "Failed", canceled: "Canceled", blocked: "Blocked",
  terminated: "Terminated", timed_out: "TimedOut", continued_as_new: "ContinuedAsNew",
};
export const TROUBLES = { retrying: "Retrying = true", no_worker: "NoWorker = true" };
// A text, a name in backticks, or where the conditions end.
const PARTS = /'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`[^`]+`|\b(?:ORDER|GROUP)\s+BY\b/gis;

export function quoted(text) {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
}

// What was typed, as its conditions and what comes behind them: ORDER BY, GROUP BY.
function parted(typed) {
  for (const found of typed.matchAll(PARTS)) {
    if (/^[OG]/i.test(found[0])) return [typed.slice(0, found.index).trim(), typed.slice(found.index)];
  }
  return [typed, ""];
}

// What was typed stands first, so that an error names a column of it.
export function queryOf({ status, trouble, type, id, query }) {
  const clauses = [];
  const [typed, behind] = parted(query ?? "");
  if (status) clauses.push(`ExecutionStatus = ${quoted(NAMES[status] ?? status)}`);
  if (TROUBLES[trouble]) clauses.push(TROUBLES[trouble]);
  if (type) clauses.push(`WorkflowType = ${quoted(type)}`);
  if (id) clauses.push(`WorkflowId STARTS_WITH ${quoted(id)}`);
  if (typed) clauses.unshift(clauses.length ? `(${typed})` : typed);
  return [clauses.join(" AND "), behind].filter(Boolean).join(" ");
}

// What was typed as a filter; a text without any operator is the beginning of a workflow id.
export function typedAs(text) {
  const typed = text.trim();
  const isPlain = typed && !/[=<>'"`()]|\b(STARTS_WITH|IN|BETWEEN|IS|ORDER|GROUP)\b/i.test(typed);
  return isPlain ? { id: typed, query: "" } : { query: typed };
}

// An error of a filter, with the column of what was typed where a parenthesis stands before that.
export function asTyped(problem, { status, type, id, query }) {
  const isWithin = problem?.code === "invalid" && query && (status || type || id);
  if (!isWithin) return problem;
  const message = problem.message.replace(/\bcolumn (\d+)/, (_, column) => `column ${column - 1}`);
  return { code: problem.code, status: problem.status, message };
}
