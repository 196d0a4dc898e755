// Ajv and Zod on the documents of the benchmark. Prints how many each validates a second, parsed
// already and from text. Arguments: the folder that holds node_modules, the file with schema and
// documents, and for how many milliseconds each is measured.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(`${process.argv[2]}/package.json`);
const load = async (name) => import(pathToFileURL(require.resolve(name)).href);
const { default: Ajv } = await load('ajv/dist/2020.js');
const { default: addFormats } = await load('ajv-formats');
const { z } = await load('zod');
const { schema, valid, invalid } = JSON.parse(readFileSync(process.argv[3]));
const SPELL = Number(process.argv[4]);

// The same as the JSON Schema in documents.rs, as a user of Zod would write it.
const zodSchema = z.strictObject({
  title: z.string().min(1).max(60),
  layout: z.enum(['grid', 'list']),
  country: z.enum(['gb', 'de', 'fr']),
  updated: z.iso.datetime({ offset: true }),
  radius: z.number().positive().max(500).optional(),
  stores: z.array(z.strictObject({
    id: z.string().regex(/^[a-z]{2}-[0-9]{4}$/),
    name: z.string().min(1).max(40),
    phone: z.string().regex(/^\+[1-9][0-9]{6,14}$/).optional(),
    image: z.url().optional(),
    position: z.strictObject({ lat: z.number().min(-90).max(90), lng: z.number().min(-180).max(180) }),
    opens: z.array(z.string().regex(/^[0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}$/)).max(7).optional(),
    tags: z.array(z.enum(['atm', 'parking', 'repair', 'returns', 'step-free'])).max(6).optional(),
  })).min(1).max(40),
});

const ajv = new Ajv();
addFormats.default ? addFormats.default(ajv) : addFormats(ajv);
const validateAjv = ajv.compile(schema);
const validateZod = (document) => zodSchema.safeParse(document).success;

const texts = valid.map((document) => JSON.stringify(document));

function perSecond(inputs, work) {
  const spell = () => {
    const started = performance.now();
    let done = 0;
    while (performance.now() - started < SPELL) {
      for (const input of inputs) {
        if (!work(input)) throw new Error('a valid document is refused');
        done++;
      }
    }
    return (done * 1000) / (performance.now() - started);
  };
  // The first also compiles it.
  return Math.max(spell(), spell());
}

function measure(validate) {
  if (invalid.some((document) => validate(document))) throw new Error('a broken document is valid');
  return { validate: perSecond(valid, validate), parse: perSecond(texts, (text) => validate(JSON.parse(text))) };
}

const version = (name) => `${name} ${JSON.parse(readFileSync(`${process.argv[2]}/node_modules/${name}/package.json`)).version}`;
process.stdout.write(JSON.stringify({
  versions: `${version('ajv')}, ${version('zod')}, Node.js ${process.version}`,
  ajv: measure(validateAjv),
  zod: measure(validateZod),
}));
