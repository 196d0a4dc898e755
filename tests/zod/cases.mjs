// Prints, for each schema, the JSON Schema that Zod converts it to and what Zod says of 500 documents
// that are mutations of good ones. Run with the folder that holds node_modules as the argument.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const require = createRequire(path.join(process.argv[2], "package.json"));
const { z } = await import(pathToFileURL(require.resolve("zod")).href);

const node = z.object({
  name: z.string().min(1),
  get children() {
    return z.array(node).max(3).optional();
  },
});

const schemas = {
  teaser: [
    z.strictObject({
      title: z.string().min(1).max(20),
      href: z.url().optional(),
      layout: z.enum(["left", "right"]).default("left"),
    }),
    [{ title: "Shoes", href: "https://example.com/a", layout: "left" }, { title: "Hats" }],
  ],
  price: [
    z.object({
      amount: z.number().min(0).max(10000),
      cents: z.int().gte(0).lt(100),
      currency: z.literal(["GBP", "EUR"]),
      step: z.number().multipleOf(5),
    }),
    [{ amount: 12.5, cents: 99, currency: "GBP", step: 15 }],
  ],
  tree: [node, [{ name: "a", children: [{ name: "b" }, { name: "c", children: [] }] }]],
  tuple: [
    z.object({ point: z.tuple([z.number(), z.number()]), path: z.tuple([z.string()]).rest(z.int()) }),
    [{ point: [1, 2.5], path: ["a", 1, 2] }],
  ],
  record: [
    z.object({ labels: z.record(z.string(), z.string().max(5)), counts: z.record(z.string(), z.int()) }),
    [{ labels: { a: "x", b: "yy" }, counts: { n: 1 } }],
  ],
  formats: [
    z.object({
      mail: z.email(),
      id: z.uuid(),
      at: z.iso.datetime(),
      day: z.iso.date(),
      ip: z.ipv4(),
      slug: z.string().regex(/^[a-z0-9-]+$/),
    }),
    [{
      mail: "ann@example.com", id: "123e4567-e89b-42d3-a456-426614174000", at: "2026-01-31T12:00:00Z",
      day: "2026-01-31", ip: "192.0.2.1", slug: "uk-shops",
    }],
  ],
  blocks: [
    z.object({
      blocks: z.array(
        z.discriminatedUnion("type", [
          z.strictObject({ type: z.literal("text"), body: z.string() }),
          z.strictObject({ type: z.literal("image"), src: z.url(), width: z.int().positive() }),
        ]),
      ).min(1).max(4),
    }),
    [{ blocks: [{ type: "text", body: "x" }, { type: "image", src: "https://example.com/a.png", width: 3 }] }],
  ],
  nullable: [
    z.object({ a: z.string().nullable(), b: z.number().nullish(), c: z.boolean().optional(), d: z.null() }),
    [{ a: null, b: 1, c: true, d: null }, { a: "x", d: null }],
  ],
  union: [
    z.object({ value: z.union([z.string().max(3), z.number().int(), z.array(z.boolean())]) }),
    [{ value: "abc" }, { value: 7 }, { value: [true] }],
  ],
  catchall: [
    z.object({ id: z.string() }).catchall(z.number()),
    [{ id: "a", x: 1, y: 2.5 }],
  ],
  intersection: [
    z.intersection(z.object({ a: z.string() }), z.object({ b: z.number().positive() })),
    [{ a: "x", b: 1 }],
  ],
  text: [
    z.object({
      code: z.string().length(4),
      prefix: z.string().startsWith("uk-"),
      suffix: z.string().endsWith(".json"),
      inside: z.string().includes("shop"),
      emoji: z.string().max(6),
    }),
    [{ code: "abcd", prefix: "uk-1", suffix: "a.json", inside: "my shop", emoji: "abc" }],
  ],
  nested: [
    z.looseObject({
      data: z.object({
        country: z.enum(["gb", "de", "fr"]),
        stores: z.array(z.object({ id: z.string(), lat: z.number().min(-90).max(90), open: z.boolean() })),
      }),
      version: z.literal(3),
    }),
    [{ data: { country: "gb", stores: [{ id: "a", lat: 51.5, open: true }] }, version: 3, more: [1] }],
  ],
};

// A small seeded generator (mulberry32): the same documents on every machine.
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const values = [
  null, true, false, 0, 1, -1, 2.5, 7, 99, 100, 15, 1e9, -90.5, "", "x", "abcd", "abcdefghijklmnopqrstuvwxyz",
  "left", "gb", "text", "uk-2", "b.json", "a shop", "not a url", "https://example.com/b", "nobody", "2026-02-30",
  "2026-01-31T12:00:00Z", "2026-01-31T12:00:00+01:00", "192.0.2.256", "Ünï", "a b", [], {}, [1, 2], ["a", 1], { id: "z" },
];

function places(value, at = []) {
  const found = [at];
  if (value && typeof value === "object") {
    for (const key of Object.keys(value)) found.push(...places(value[key], [...at, key]));
  }
  return found;
}

function mutate(document, next) {
  const copy = structuredClone(document);
  const all = places(copy).filter((at) => at.length > 0);
  if (all.length === 0) return copy;
  const at = all[Math.floor(next() * all.length)];
  let parent = copy;
  for (const key of at.slice(0, -1)) parent = parent[key];
  const key = at[at.length - 1];
  const value = structuredClone(values[Math.floor(next() * values.length)]);
  const kind = next();
  if (kind < 0.6) parent[key] = value;
  else if (kind < 0.75) Array.isArray(parent) ? parent.splice(Number(key), 1) : delete parent[key];
  else if (Array.isArray(parent)) parent.push(value);
  else parent["extra" + Math.floor(next() * 3)] = value;
  return copy;
}

const output = Object.entries(schemas).map(([name, [schema, good]], index) => {
  const next = random(index + 1);
  const documents = [...good];
  while (documents.length < 500) {
    // Mostly one step away from a good document: far away everything is simply wrong.
    const among = next() < 0.8 ? good.length : Math.min(documents.length, 50);
    let document = documents[Math.floor(next() * among)];
    const times = next() < 0.8 ? 1 : 2;
    for (let i = 0; i < times; i++) document = mutate(document, next);
    documents.push(document);
  }
  return {
    name,
    schema: z.toJSONSchema(schema, { io: "input" }),
    cases: documents.map((document) => ({ document, valid: schema.safeParse(document).success })),
  };
});
process.stdout.write(JSON.stringify(output));
