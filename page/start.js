/**
 * Loads the page again if one of its modules cannot be loaded, without which none of them runs:
 * the server was overloaded or restarted meanwhile. No module itself, so it runs in any case.
 */

addEventListener('error', ({ target }) => {
  if (!(target instanceof HTMLScriptElement)) return;
  const chip = document.getElementById('state');
  chip.textContent = 'the page is incomplete; loading it again';
  chip.className = 'chip retrying';
  setTimeout(() => location.reload(), 3000);
}, true);
