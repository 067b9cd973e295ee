/** The dialog that asks for the token of the server, until one is given. */

import { byId, setText } from '../lib/dom.js';

/** Returns a promise of a token. `problem` is the answer to the token before, or null. */
export function askForToken(problem) {
  const dialog = byId('token-dialog');
  const input = byId('token');
  setText(byId('token-problem'), problem ? problem.message : '');
  byId('token-problem').hidden = !problem;
  input.value = '';
  dialog.showModal();
  return new Promise((resolve) => {
    // Escape would leave a page that can show nothing, and no way to the dialog.
    const reopen = () => dialog.showModal();
    dialog.addEventListener('close', reopen);
    byId('token-form').addEventListener('submit', (event) => {
      event.preventDefault();
      dialog.removeEventListener('close', reopen);
      dialog.close();
      resolve(input.value.trim());
    }, { once: true });
  });
}
