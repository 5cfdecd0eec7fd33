// REST and Auth by @supabase/lite, made to behave as a hosted project does. It is an alpha, pinned to one version:
// what is replaced here is asserted to be there.
import { App } from '@supabase/lite';
import { createPostgresConnection } from '@supabase/lite/postgres';
import { sql } from 'kysely';

const CONNECTIONS = 10;

// lite prints timestamptz as Postgres does; supabase-py accepts RFC 3339 only.
const timestamptz = {
  to: 1184,
  from: [1184],
  serialize: (text) => text,
  parse: (text) => text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00'),
};

function connect(url, max) {
  return createPostgresConnection({ url, postgresOptions: { max, onnotice() {}, types: { timestamptz } } });
}

function appOn(connection, { schemas, jwtSecret, publishableKey, secretKey }) {
  return new App({
    connection,
    api: { schemas },
    auth: {
      enabled: true,
      enable_signup: true,
      jwt_secret: jwtSecret,
      jwt_expiry: 3600,
      publishable_key: publishableKey,
      secret_key: secretKey,
      email: { enable_confirmations: false },
    },
    storage: { enabled: false },
    db: { migrations: { enabled: false } }, // ours
    // Otherwise a request without a key that comes from this machine is service_role.
    options: { server: { admin: false } },
  });
}

// The superuser's connection: makes lite's auth schema and reads the catalogue. No request is ever run on it.
//
// The login role of requests owns and reads nothing before it switches to an API role, so it cannot see the tables in
// information_schema. And lite's own cache may keep a catalogue that was read while it was being changed: here the
// promise is kept, so a change also forgets a reading that has not ended.
class Catalogue {
  #connection;
  #reading;

  constructor(connection) {
    this.#connection = connection;
  }

  async followChanges() {
    const forget = () => (this.#reading = undefined);
    await this.#connection.driver.listen('pgrst', forget, forget);
  }

  async read() {
    const reading = (this.#reading ??= this.#readAll());
    try {
      return await reading;
    } catch (error) {
      if (this.#reading === reading) this.#reading = undefined;
      throw error;
    }
  }

  async #readAll() {
    const [schema, timeouts] = await Promise.all([
      this.#connection.introspect(),
      this.#connection.driver`
        select rolname, split_part(setting, '=', 2) as timeout from pg_roles, unnest(rolconfig) as setting
         where setting like 'statement_timeout=%'`,
    ]);
    // lite answers a failure with an empty catalogue. There is none: auth has tables.
    if (schema.tables.length === 0) throw new Error('the catalogue could not be read');
    return { schema, timeouts: new Map(timeouts.map(({ rolname, timeout }) => [rolname, timeout])) };
  }
}

// All in one round trip, where lite takes one for each.
async function setWithin(transaction, settings) {
  const calls = Object.entries(settings).map(([name, value]) => sql`set_config(${name}, ${value}, true)`);
  await sql`select ${sql.join(calls)}`.execute(transaction);
}

// Becomes the role of a request within its transaction. As PostgREST does, it takes on the role's own statement
// timeout, which `set role` alone does not, and claims its role also for a request without a token.
async function become(catalogue, transaction, { auth }) {
  const { timeouts } = await catalogue.read();
  const role = auth?.role ?? 'anon';
  await setWithin(transaction, {
    role,
    'request.jwt.claims': JSON.stringify(auth?.jwt ?? { role }),
    'request.jwt.claim.sub': String(auth?.uid ?? ''),
    'request.jwt.claim.role': role,
    ...(timeouts.has(role) && { statement_timeout: timeouts.get(role) }),
  });
}

// What a function may read about its request, and the room for its answer's status and headers.
function describeRequest(transaction, { method, path, requestHeaders }) {
  return setWithin(transaction, {
    'request.method': method,
    'request.path': path,
    'request.headers': JSON.stringify(requestHeaders ?? {}),
    'response.status': '',
    'response.headers': '',
  });
}

function replaceOn(connection, name, replacement) {
  if (!(name in connection)) throw new Error(`this @supabase/lite has no ${name}: its requests cannot be trusted`);
  connection[name] = replacement;
}

// The app, once its schema is there. `settings` are those of appOn, `adminUrl` and `url`.
export async function startLite({ adminUrl, url, ...settings }) {
  const admin = connect(adminUrl, 2);
  await appOn(admin, settings).ensureSystemSchema();
  const catalogue = new Catalogue(admin);
  await catalogue.followChanges();

  const app = appOn(connect(url, CONNECTIONS), settings);
  await app.init();
  // lite looks for tables with RLS once, at its first request. If there are none it serves every later request as the
  // login role; if there are some it grants everything on their schemas to the API roles. Say it is settled: neither.
  replaceOn(app.connection, 'rlsState', 'active');
  replaceOn(app.connection, 'introspect', async () => (await catalogue.read()).schema);
  replaceOn(app.connection, 'applyJwtSessionContext', (transaction, context) => become(catalogue, transaction, context));
  replaceOn(app.connection, 'applyRpcRequestGucs', describeRequest);
  return app;
}
