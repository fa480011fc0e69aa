/*
 * Channels: what is said on those that are joined, who is there, and a line to say something.
 */
import {Feed, feedRow, plainValue} from './feed.js';
import {$, el, plural} from './page.js';
import {RowtapError, stringify} from './rowtap.js';

const PRESENCE = 'collaboration';

/* The members of an object, or the value itself; as one line and, opened, as JSON. */
function dataNodes(data) {
    const isObject = data !== null && typeof data === 'object' && !Array.isArray(data);
    const text = (value) => (typeof value === 'string' ? value : stringify(value));
    if (!isObject) return [plainValue('', text(data ?? null))];
    return Object.entries(data).map(([name, value]) => plainValue(name, value === null ? null : text(value)));
}

function messageRow(message) {
    const {type, event, channel, userId, data} = message;
    const name = event ?? type;
    const {connectedUsers: _, ...shown} = type.startsWith('user:') ? data : {};
    const whole = () => el('pre', {className: 'whole mono'}, JSON.stringify(JSON.parse(stringify(message)), null, 2).slice(0, 20000));
    return feedRow(message, 'SCHEMA', name, channel, userId ?? '', dataNodes(type.startsWith('user:') ? shown : data), whole);
}

/** The panel; nothing is joined before somebody asks for it. */
export function openChannels(client) {
    const feed = new Feed($('messages'));
    const joined = new Map();

    function showJoined() {
        const chip = (name) => el('li', {}, name, ' ', el('button', {type: 'button', title: `Leave ${name}`,
            ariaLabel: `Leave ${name}`, onclick: () => leave(name)}, '×'));
        $('joined').replaceChildren(...[...joined.keys()].map(chip));
        $('people').hidden = !joined.has(PRESENCE);
        if (joined.size && !$('send-channel').value) $('send-channel').value = [...joined.keys()].at(-1);
    }

    function leave(name) {
        joined.get(name)?.leave();
        joined.delete(name);
        showJoined();
        $('channel').focus();
    }

    function showUsers({users, userCount, userId}) {
        const where = ({table, row, column}) => [table, row === null ? '' : stringify(row), column].filter(Boolean).join(' · ');
        const line = (user) => el('li', {}, el('span', {className: user.userId === userId ? 'me' : ''}, user.userId),
            user.userId === userId ? ' (you)' : '',
            user.connectionIds.size > 1 ? el('span', {className: 'muted'}, ` ${user.connectionIds.size} connections`) : '',
            ...[...user.cursors.values()].slice(0, 5).map((c) => el('span', {className: 'muted mono cursor'}, where(c))));
        $('people-count').textContent = userCount || '';
        $('users').replaceChildren(...[...users.values()].slice(0, 200).map(line));
    }

    function join(name) {
        if (joined.has(name)) return;
        const options = {
            onChange: (message) => { if (message.type !== 'user:cursor') feed.add(messageRow, message); },
            onError: (error) => {
                $('channel-error').textContent = error.message;
                if (joined.get(name) === channel) joined.delete(name);
                showJoined();
            },
        };
        const channel = name === PRESENCE ? client.presence(name, options) : client.channel(name, options);
        let asked = 0;
        const draw = () => { asked ||= requestAnimationFrame(() => { asked = 0; showUsers(channel); }); };
        if (name === PRESENCE) channel.on('change', draw).on('cursor', draw);
        joined.set(name, channel);
        channel.ready.then(() => feed.notice(`Joined ${name}`), () => {});
        showJoined();
    }

    async function send() {
        const [channel, event, text] = ['send-channel', 'event', 'data'].map((id) => $(id).value.trim());
        let data = text;
        try {
            data = text ? JSON.parse(text) : null;
        } catch {
            /* What is no JSON is sent as the text that it is, unless it was meant as JSON. */
            if (/^[[{"]/.test(text)) throw new RowtapError({message: 'the data is not valid JSON'});
        }
        return plural(await client.broadcast(channel, event || 'message', data), 'connection');
    }

    $('join').addEventListener('submit', (event) => {
        event.preventDefault();
        const name = $('channel').value.trim();
        $('channel-error').textContent = '';
        if (!name) return;
        join(name);
        $('channel').value = '';
    });
    $('send').addEventListener('submit', async (event) => {
        event.preventDefault();
        $('sent').textContent = 'Sending…';
        $('sent').classList.remove('error');
        try {
            $('sent').textContent = `Delivered to ${await send()}`;
        } catch (error) {
            $('sent').textContent = error.message;
            $('sent').classList.add('error');
        }
    });
    return {shown: () => {}};
}
