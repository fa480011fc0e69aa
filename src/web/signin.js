/*
 * The token that a server with keys wants: from the page's address (#token=…), or typed in. It is kept for as
 * long as the tab.
 */
import {$} from './page.js';

const KEPT = 'rowtap-token';

function take() {
    const given = new URLSearchParams(location.hash.slice(1)).get('token');
    if (given) {
        sessionStorage.setItem(KEPT, given);
        history.replaceState(null, '', location.pathname);
    }
    return sessionStorage.getItem(KEPT) ?? undefined;
}

/** What `connect` is given, before there is a client. */
export const token = take();

/** Asks for a token when the server wants one, or another. */
export function openSignIn(client) {
    const dialog = $('sign-in');
    client.on('error', (error) => {
        if (error.code !== 'UNAUTHORIZED') return console.error(error);
        $('sign-in-error').textContent = token ? error.message : '';
        if (!dialog.open) dialog.showModal();
    });
    $('sign-in-form').addEventListener('submit', (event) => {
        event.preventDefault();
        sessionStorage.setItem(KEPT, $('token').value.trim());
        location.reload();
    });
}
