// client.js SOCKET: asks hello, by Node's http with a socketPath. `ok WHAT` or `FAILED WHAT: WHY`, then `end`.
const http = require('http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const sockets = new Set();

function ask(method, path, body, headers = {}) {
    return new Promise((resolve, reject) => {
        const req = http.request({ socketPath: process.argv[2], agent, method, path, headers }, (res) => {
            const pieces = [];
            res.on('data', (piece) => pieces.push(piece));
            res.on('end', () => resolve({ status: res.statusCode, body: Buffer.concat(pieces) }));
        });
        req.on('socket', (socket) => sockets.add(socket));
        req.on('error', reject);
        if (headers.Expect) req.on('continue', () => req.end(body)), req.flushHeaders();
        else req.end(body);
    });
}

const say = (what, good, why) => console.log(good ? `ok ${what}` : `FAILED ${what}: ${why}`);
const fits = (got, status, body) => got.status === status && (body === undefined || got.body.equals(Buffer.from(body)));
const expect = (what, got, status, body) => say(what, fits(got, status, body), `${got.status}, ${got.body.length} bytes`);

(async () => {
    expect('GET', await ask('GET', '/'), 200, 'Hello Anonymous');
    expect('parameter', await ask('GET', '/w%C3%B6rld'), 200, 'Hello wörld');
    let good = 0;
    for (let i = 0; i < 100; ++i) good += fits(await ask('GET', '/world'), 200, 'Hello world');
    say('keep-alive', good === 100 && sockets.size === 1, `${good} of 100, ${sockets.size} connections`);
    expect('HEAD', await ask('HEAD', '/world'), 200, '');
    expect('404', await ask('GET', '/a/b/c'), 404);
    expect('405', await ask('DELETE', '/world'), 405);
    expect('POST echo', await ask('POST', '/echo', 'some bytes', { 'Content-Length': 10 }), 200, 'some bytes');
    const large = Buffer.alloc(4 << 20, '0123456789abcdef');
    expect('POST of 4 MB', await ask('POST', '/echo', large, { 'Content-Length': large.length }), 200, large);
    expect('chunked POST', await ask('POST', '/echo', large, { 'Transfer-Encoding': 'chunked' }), 200, large);
    expect('Expect', await ask('POST', '/echo', 'later', { 'Content-Length': 5, Expect: '100-continue' }), 200, 'later');
    console.log('end');
    agent.destroy();
})().catch((error) => {
    console.log(error.stack);
    process.exit(1);
});
