// node_server.js SOCKET
const http = require('http');
http.createServer((req, res) => {
    const [, what, n] = req.url.split('/');
    if (req.method === 'DELETE') return res.writeHead(405).end();
    if (what === 'large') return res.end(Buffer.alloc(Number(n), 'x'));
    if (what === 'pieces') {
        for (let i = 0; i < Number(n); ++i) res.write(`${i}\n`);
        return res.end();
    }
    if (what === 'mirror') return req.pipe(res);
    if (what === 'echo' && req.method === 'POST') {
        const pieces = [];
        req.on('data', (piece) => pieces.push(piece));
        return req.on('end', () => res.end(Buffer.concat(pieces)));
    }
    const body = `Hello ${decodeURIComponent(what) || 'Anonymous'}`;
    res.setHeader('Content-Length', Buffer.byteLength(body));
    res.end(body);
}).listen(process.argv[2]);
