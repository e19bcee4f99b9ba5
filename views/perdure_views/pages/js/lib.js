// The one place that names the libraries.
import { Fragment, h, render } from "../vendor/preact.mjs";
import htm from "../vendor/htm.mjs";

export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/hooks.mjs";
export { Fragment, render };

// Text in a template is always a text node: nothing a user wrote becomes markup.
export const html = htm.bind(h);

export function classes(...names) {
  return names.filter(Boolean).join(" ");
}
