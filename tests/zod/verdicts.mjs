// Writes, for each schema below: its JSON Schema as Zod converts it, and documents with Zod's
// verdict on each. The documents are mutated from valid ones with a fixed seed, so every run judges
// the same ones. Arguments: the folder that holds node_modules, and how many documents for each.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// Node 20 answers wrongly for non-ASCII text once it has optimized this function, after some 6,000
// calls; Zod then calls `new URL` instead, which is right.
delete URL.canParse;

const require = createRequire(`${process.argv[2]}/package.json`);
const { z } = await import(pathToFileURL(require.resolve('zod')).href);
const DOCUMENTS = Number(process.argv[3] ?? 500);

const Action = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('link'), url: z.url(), newTab: z.boolean().default(false) }),
  z.strictObject({ type: z.literal('event'), name: z.string().regex(/^[a-z][a-z0-9_.]{2,40}$/) }),
  z.strictObject({ type: z.literal('none') }),
]);

const Block = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('text'), text: z.string().min(1).max(80), size: z.enum(['s', 'm', 'l']).optional() }),
  z.object({ kind: z.literal('image'), src: z.url(), alt: z.string().nullable(), width: z.int().min(1).max(4096) }),
  z.object({ kind: z.literal('row'), get children() { return z.array(Block).max(6); }, gap: z.int().nonnegative().optional() }),
  z.object({ kind: z.literal('column'), get children() { return z.array(Block).max(6); } }),
]);

const Category = z.object({
  name: z.string().min(1),
  get parent() { return Category.optional(); },
  get children() { return z.array(Category); },
});

// Each: a schema, and valid documents to mutate.
//
// Left out, because `z.toJSONSchema` does not carry over what Zod does there, so that nobody who
// only sees the JSON Schema can judge alike (DIFFERENCES below shows each that can be shown):
// - refine, transform, pipe, trim, coerce, codecs: code;
// - flags of a regular expression (`/^a/i` becomes `^a`), and what the options of `z.url` ask for
//   (`z.httpUrl()`, `protocol`, `hostname`);
// - characters outside the Basic Multilingual Plane in a regular expression without the flag u:
//   JavaScript sees two halves of an emoji there, JSON Schema one character (lengths agree);
// - the key `__proto__`, which Zod skips;
// - an IPv6 network whose length is a fraction (`::/3.2`), which Zod takes and which is none.
const SCHEMAS = {
  storeFinder: [
    z.object({
      country: z.enum(['gb', 'de', 'fr']), updated: z.iso.datetime(), radius: z.number().positive().max(500),
      stores: z.array(z.object({
        id: z.uuid(), name: z.string().min(1).max(40), phone: z.e164().optional(), email: z.email().nullable(),
        position: z.tuple([z.number().min(-90).max(90), z.number().min(-180).max(180)]),
        opens: z.iso.time().optional(), tags: z.array(z.string().max(12)).max(4).default([]),
      })).min(1).max(5),
    }),
    [{
      country: 'gb', updated: '2026-05-01T10:00:00Z', radius: 12.5,
      stores: [
        { id: '3f2504e0-4f89-41d3-9a0c-0305e82c3301', name: 'Bank', phone: '+442071234567', email: 'bank@example.com', position: [51.5, -0.09], opens: '08:30', tags: ['atm'] },
        { id: '00000000-0000-0000-0000-000000000000', name: 'Soho', email: null, position: [0, 180] },
      ],
    }],
  ],
  strictWithDefaults: [
    z.strictObject({ title: z.string().default('Hello'), count: z.int().default(1), nested: z.strictObject({ on: z.boolean() }).optional(), note: z.string().nullish() }),
    [{ title: 'a', count: 3, nested: { on: true }, note: null }, {}],
  ],
  blocks: [Block, [{
    kind: 'row', gap: 2, children: [
      { kind: 'text', text: 'Hi', size: 's' }, { kind: 'image', src: 'https://example.com/a.png', alt: null, width: 10 },
      { kind: 'column', children: [{ kind: 'row', children: [{ kind: 'text', text: 'deep' }] }] },
    ],
  }]],
  category: [Category, [{ name: 'a', parent: { name: 'p', children: [] }, children: [{ name: 'b', children: [{ name: 'c', children: [] }] }] }]],
  actions: [z.record(z.string().regex(/^[a-z]+$/), Action), [
    { primary: { type: 'link', url: 'https://example.com/x?y=1#z', newTab: true }, second: { type: 'event', name: 'cart.add_1' }, third: { type: 'none' } },
  ]],
  tuples: [
    z.object({ pair: z.tuple([z.string(), z.int()]), rest: z.tuple([z.boolean()], z.number()), maybe: z.tuple([z.string(), z.number().optional()]) }),
    [{ pair: ['a', 1], rest: [true, 1, 2.5], maybe: ['x', 2] }, { pair: ['', 0], rest: [false], maybe: ['x'] }],
  ],
  records: [
    z.object({ byName: z.record(z.string(), z.number()), byEnum: z.record(z.enum(['x', 'y']), z.string()), partial: z.partialRecord(z.enum(['x', 'y']), z.boolean()) }),
    [{ byName: { a: 1, b: 2 }, byEnum: { x: '1', y: '2' }, partial: { x: true } }],
  ],
  network: [
    z.object({ v4: z.ipv4(), v6: z.ipv6(), c4: z.cidrv4(), c6: z.cidrv6(), host: z.hostname(), mac: z.mac().optional() }),
    [{ v4: '192.168.0.1', v6: '2001:db8::1', c4: '10.0.0.0/8', c6: '2001:db8::/32', host: 'api.example.com', mac: '00:1A:2B:3C:4D:5E' }],
  ],
  times: [
    z.object({ at: z.iso.datetime({ offset: true }), local: z.iso.datetime({ local: true }), day: z.iso.date(), clock: z.iso.time(), length: z.iso.duration() }),
    [{ at: '2024-02-29T23:59:59.123+02:00', local: '2024-01-31T01:02:03', day: '2000-02-29', clock: '23:59:59.5', length: 'P1Y2M3DT4H5M6.5S' }],
  ],
  identifiers: [
    z.object({ uuid: z.uuid(), v4: z.uuidv4(), nano: z.nanoid(), ulid: z.ulid(), cuid: z.cuid2(), hex: z.hex(), b64: z.base64(), b64u: z.base64url(), jwt: z.jwt() }),
    [{
      uuid: '3f2504e0-4f89-11d3-9a0c-0305e82c3301', v4: '3f2504e0-4f89-41d3-9a0c-0305e82c3301', nano: 'V1StGXR8_Z5jdHi6B-myT', ulid: '01ARZ3NDEKTSV4RRFFQ69G5FAV',
      cuid: 'tz4a98xxat96iws9zmbrgj3a', hex: 'deadBEEF', b64: 'aGVsbG8=', b64u: 'aGVsbG8', jwt: 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.x',
    }],
  ],
  // Even numbers are bounded, since Zod takes every number beyond 2^51 for a multiple of 2: it
  // compares the quotient with a tolerance that is then more than a half. We compare whole numbers
  // exactly and call 9007199254740991 odd, which it is.
  numbers: [
    z.object({ int: z.int(), i32: z.int32(), price: z.number().multipleOf(0.01), even: z.int().multipleOf(2).max(2 ** 50), ratio: z.number().gt(0).lt(1), range: z.number().min(-5).max(5), any: z.number() }),
    [{ int: 9007199254740991, i32: -2147483648, price: 19.99, even: 4, ratio: 0.5, range: -5, any: 1.5 }],
  ],
  strings: [
    z.object({
      short: z.string().min(2).max(5), exact: z.string().length(3), slug: z.string().regex(/^[a-z0-9]+(?:-[a-z0-9]+)*$/), starts: z.string().startsWith('a.b'),
      ends: z.string().endsWith('.json'), has: z.string().includes('x+y'), lower: z.string().lowercase(), upper: z.string().uppercase(), password: z.string().regex(/^(?=.*[A-Z])(?=.*\d)(?!.*\s).{8,}$/),
    }),
    [{ short: 'abc', exact: 'xyz', slug: 'a-b-c1', starts: 'a.bc', ends: 'x.json', has: 'ax+yb', lower: 'abc', upper: 'ABC', password: 'Abcdefg1' }],
  ],
  unions: [
    z.object({ either: z.union([z.string(), z.number(), z.null()]), form: z.union([z.object({ a: z.string() }), z.object({ b: z.number() })]), list: z.array(z.union([z.literal('x'), z.literal(1), z.literal(true)])).nonempty(), flag: z.literal(['on', 'off', 0]) }),
    [{ either: null, form: { a: 'x', b: 1 }, list: ['x', 1, true], flag: 'on' }, { either: 'x', form: { b: 2 }, list: [1], flag: 0 }],
  ],
  intersections: [
    z.object({ both: z.intersection(z.object({ a: z.string() }), z.object({ b: z.number() })), merged: z.object({ a: z.string() }).extend({ b: z.boolean().optional() }), mixed: z.intersection(z.object({ k: z.string() }), z.union([z.object({ x: z.int() }), z.object({ y: z.int() })])) }),
    [{ both: { a: 'x', b: 1 }, merged: { a: 'x', b: true }, mixed: { k: 'a', x: 1, y: 2 } }],
  ],
  catchalls: [
    z.object({ known: z.string(), labels: z.object({ app: z.string() }).catchall(z.number()), loose: z.looseObject({ a: z.int() }), optional: z.object({ a: z.string().optional(), b: z.string().nullable(), c: z.string().nullish() }) }),
    [{ known: 'x', labels: { app: 'a', n: 1, m: 2 }, loose: { a: 1, other: [] }, optional: { a: 'x', b: null, c: null } }],
  ],
  templates: [
    z.object({ size: z.templateLiteral([z.int(), z.enum(['px', 'em'])]), key: z.templateLiteral(['w-', z.string().min(1), '-', z.enum(['a', 'b'])]), any: z.unknown(), json: z.json() }),
    [{ size: '12px', key: 'w-x-a', any: null, json: { a: [1, 'x', null, { b: true }] } }],
  ],
};

// See above: what cannot be judged alike, and a document that shows it.
const DIFFERENCES = {
  'a flag of a regular expression is lost': [z.string().regex(/^a/i), 'Abc'],
  'the options of a URL are lost': [z.httpUrl(), 'mailto:a@example.com'],
  'code is lost': [z.string().refine((text) => text !== 'no'), 'no'],
  'an emoji is two to a regular expression without u': [z.string().regex(/^.$/), '\u{1F600}'],
  'a fraction is no length of a network': [z.cidrv6(), '::/3.2'],
  'a tolerance is not for whole numbers': [z.int().multipleOf(2), 9007199254740991],
};

// Mulberry32: small, and the same everywhere.
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const SAMPLES = [
  null, true, false, 0, 1, -1, 2, 3.5, 0.1, -0.5, 100, 1e21, 4096, 4097, 2147483647, 2147483648, 9007199254740991, 0.07, 1.005, '', 'a', 'ab', 'abcdef', 'x', 'ABC', '0', '12', 'true',
  'https://example.com', 'http://exämple.com/ü', 'javascript:alert(1)', '/relative', 'mailto:a@example.com', 'http:/example.com', ' https://example.com ', 'https://exa mple.com', 'https://[::1]/', 'urn:isbn:1',
  'a@b.co', 'a@b-.com', 'a..b@example.com', '"q"@example.com', 'a@localhost', '2026-05-01T10:00:00Z', '2026-05-01t10:00:00z', '2026-02-30T10:00:00Z', '2026-05-01T10:00:00+02:00', '2026-05-01T10:00', '2026-05-01', '2023-02-29', '24:00', '23:59:60', '12:30',
  'PT1.5S', 'P1Y1D', 'PT1H1S', 'P', 'PT', 'P1W1D', '256.1.1.1', '01.2.3.4', '::', '::1', '1::2::3', '::ffff:1.2.3.4', 'fe80::1%eth0', '10.0.0.0/33', '::/129', '10.0.0.0/8', 'example.com.', '-bad.com', 'x'.repeat(64) + '.com', 'xn--a.com',
  'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF', '3f2504e04f8941d39a0c0305e82c3301', 'aGVsbG8', 'aGVs bG8=', '====', '+44', '+04412345678', 'é', 'ü'.repeat(5), 'a\nb', 'a\u2028b', '\u{1F600}\u{1F600}', '\u{1F468}\u200D\u{1F469}',
  [], [1], ['a', 1], [true, 'x'], {}, { a: 'x' }, { kind: 'text' }, { type: 'none' }, { kind: 'row', children: [] },
];

const places = (value, path = []) => [path, ...(value && typeof value === 'object'
  ? Object.keys(value).flatMap((key) => places(value[key], [...path, key])) : [])];

const at = (root, path) => path.reduce((value, key) => value[key], root);

// One change to one place: another value, a missing or unknown key, a shorter or longer list or
// text, a neighbour's value.
function mutate(root, pick) {
  const all = places(root);
  const path = pick(all);
  if (path.length === 0) return pick([0, 1, 2, 3, 4, 5]) === 0 ? pick(SAMPLES) : root;
  const parent = at(root, path.slice(0, -1));
  const key = path[path.length - 1];
  const old = parent[key];
  switch (pick([0, 0, 0, 1, 2, 3, 4, 5, 5])) {
    case 0: parent[key] = structuredClone(pick(SAMPLES)); break;
    case 1: Array.isArray(parent) ? parent.splice(Number(key), 1) : delete parent[key]; break;
    case 2:
      if (Array.isArray(parent)) parent.push(structuredClone(old));
      else parent[pick(['extra', 'a', 'b', 'x', 'Upper', 'kind', key + '2'])] = structuredClone(pick([old, pick(SAMPLES)]));
      break;
    case 3: parent[key] = structuredClone(at(root, pick(all))); break;
    case 4: parent[key] = pick([[old], { a: old }, String(old), null]); break;
    default:
      if (typeof old === 'string' && old.length > 0) {
        // By characters: half of a surrogate pair is not UTF-8 and so not in any document.
        const chars = [...old];
        const i = Math.floor(pick([0, 0.25, 0.5, 0.75, 0.99]) * chars.length);
        const c = pick(['', 'a', 'A', '0', '9', '-', '.', ':', '/', '@', 'Z', ' ', '+', '=', '_', 'é']);
        parent[key] = [...chars.slice(0, i), c, ...chars.slice(i + pick([0, 1]))].join('');
      } else if (typeof old === 'number') parent[key] = pick([-old, old + 1, old - 1, old / 2, old * 10, old + 0.001, old + 0.01]);
      else parent[key] = structuredClone(pick(SAMPLES));
  }
  return root;
}

const convert = (schema) => z.toJSONSchema(schema, { io: 'input' });
const judge = (schema, document) => ({ document, valid: schema.safeParse(document).success });

const results = Object.entries(SCHEMAS).map(([name, [schema, valid]], index) => {
  const next = random(index + 1);
  const pick = (list) => list[Math.floor(next() * list.length)];
  const cases = valid.map((document) => judge(schema, document));
  if (cases.some((one) => !one.valid)) throw new Error(`${name}: a document to start from is not valid`);
  const seen = new Set();
  while (cases.length < DOCUMENTS) {
    let document = structuredClone(pick(valid));
    for (let changes = pick([1, 1, 1, 2, 3]); changes > 0; changes--) document = mutate(document, pick);
    // Through text, since that is how a document arrives: no undefined, no -0, no shared parts.
    const text = JSON.stringify(document);
    if (seen.has(text)) continue;
    seen.add(text);
    document = JSON.parse(text);
    if (name === 'network' && String(document?.c6).match(/\/\d*\.\d+$/)) continue;
    cases.push(judge(schema, document));
  }
  return { name, jsonSchema: convert(schema), cases };
});
const differences = Object.entries(DIFFERENCES).map(([name, [schema, document]]) => ({
  name, jsonSchema: convert(schema), cases: [judge(schema, document)],
}));
const { version } = JSON.parse(readFileSync(`${process.argv[2]}/node_modules/zod/package.json`));
process.stdout.write(JSON.stringify({ zod: version, results, differences }));
