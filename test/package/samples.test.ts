// What a TypeScript user meets: every sample of the documents compiles, in each way that TypeScript finds packages, with
// import and with require, and the declarations hold without skipLibCheck. RC_TYPESCRIPT is another compiler to try, as the
// path of its typescript.js: CI tries the oldest that the declarations are for.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type TypeScript from 'typescript'
import { afterAll, describe, expect, test } from 'vitest'

const ts: typeof TypeScript = createRequire(import.meta.url)(process.env.RC_TYPESCRIPT ?? 'typescript')
const root = fileURLToPath(new URL('../..', import.meta.url))
const project = mkdtempSync(path.join(tmpdir(), 'rdma-checkpoint-samples-'))
afterAll(() => rmSync(project, { recursive: true, force: true }))

mkdirSync(path.join(project, 'node_modules'))
symlinkSync(root, path.join(project, 'node_modules', 'rdma-checkpoint'))
writeFileSync(path.join(project, 'package.json'), '{ "type": "module" }')

/** What samples that are not whole programs speak of. */
const around = path.join(project, 'around.d.ts')
writeFileSync(
  around,
  `import type { Client, Region, ProcessPair, PersistentMemoryUnit } from 'rdma-checkpoint'
  declare global {
    const client: Client
    const region: Region
    const pair: ProcessPair<unknown>
    const unit: PersistentMemoryUnit
    const bytes: Uint8Array
    function apply(value: unknown): void
    function writeItAllAgain(): void
  }
  export {}
  `,
)

function write(name: string, text: string): string {
  const file = path.join(project, name)
  writeFileSync(file, text)
  return file
}

/** Samples in ts and js fences, each a module of its own, by where they stand. */
const samples = ['README.md', ...readdirSync(path.join(root, 'docs')).map((name) => `docs/${name}`)]
  .filter((name) => name.endsWith('.md'))
  .flatMap((document) => {
    const text = readFileSync(path.join(root, document), 'utf8')
    return [...text.matchAll(/^```(ts|js|typescript|javascript|mjs)\n(.*?)^```$/gms)].map((match) => {
      const line = text.slice(0, match.index).split('\n').length
      const extension = match[1]?.startsWith('t') ? 'mts' : 'mjs'
      const name = `${document.replaceAll('/', '-')}-${line}.${extension}`
      return write(name, `${match[2]}\nexport {}\n`)
    })
  })

const requires = write(
  'requires.cts',
  `import rdma = require('rdma-checkpoint')
  export async function read(): Promise<number | undefined> {
    const client: rdma.Client = await rdma.connect('127.0.0.1:4790')
    const region = await client.openRegion('counter')
    const latest = await region.checkpoints({ codec: rdma.json<{ count: number }>() }).latest()
    client.addEventListener('disconnected', (event) => event.unit.length)
    return latest?.value.count
  }
  `,
)
const typed = write(
  'typed.mts',
  `import { connect, earlyPeer, json, ProcessPair, v8Codec } from 'rdma-checkpoint'
  const client = await connect('127.0.0.1:4790')
  const region = await client.openRegion('counter', { mode: 'write' })
  const log = region.log({ codec: json<{ count: number }>() })
  await log.append({ count: 1 })
  // @ts-expect-error a value of another type
  await log.append({ name: 'a' })
  for (const { value } of await region.checkpoints({ codec: v8Codec<Map<string, bigint>>() }).all()) value.get('a')
  for await (const { value } of region.checkpoints({ codec: json<{ count: number }>() }).follow()) value.count.toFixed()
  const read: Uint8Array = await region.read(0, 64)
  new DataView(read.buffer)
  new ProcessPair('127.0.0.1:4790', {
    region: 'counter',
    codec: json<{ count: number }>(),
    async onPrimary({ state = { count: 0 }, log }) {
      await log.append({ count: ++state.count })
    },
  }).addEventListener('role', ({ role, epoch }) => console.error(role.length, epoch))
  earlyPeer()?.addEventListener('lost', ({ error, partner }) => console.error(error?.code, partner))
  // @ts-expect-error no such event
  earlyPeer()?.addEventListener('vanished', () => undefined)
  `,
)

const ways = {
  node16: { module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16 },
  nodenext: { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext },
  bundler: { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler },
}

/** Declarations are parsed once for all programs that read them in the same format. */
const declarations = new Map<string, TypeScript.SourceFile | undefined>()
function hostFor(options: TypeScript.CompilerOptions): TypeScript.CompilerHost {
  const host = ts.createCompilerHost(options)
  const { getSourceFile } = host
  host.getSourceFile = (name, how, ...rest) => {
    if (!name.endsWith('.d.ts')) return getSourceFile(name, how, ...rest)
    const key = `${name} ${typeof how === 'object' ? how.impliedNodeFormat : ''}`
    if (!declarations.has(key)) declarations.set(key, getSourceFile(name, how, ...rest))
    return declarations.get(key)
  }
  return host
}

/** What the compiler says of the files and of all that they reach, but for its own libraries and those of Node. */
function check(way: TypeScript.CompilerOptions, files: string[]): string[] {
  const options = {
    ...way,
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    allowJs: true,
    checkJs: true,
    noEmit: true,
    skipLibCheck: false,
    types: ['node'],
    typeRoots: [path.join(root, 'node_modules', '@types')],
  }
  const program = ts.createProgram([around, ...files], options, hostFor(options))
  const others = path.join(root, 'node_modules', '@types')
  const checked = program
    .getSourceFiles()
    .filter((file) => !program.isSourceFileDefaultLibrary(file) && !file.fileName.startsWith(others))
  // The declarations of the package itself are what is checked, not only the samples.
  expect(checked.filter(({ fileName }) => fileName.startsWith(path.join(root, 'dist'))).length).toBeGreaterThan(20)
  return [
    ...program.getOptionsDiagnostics(),
    ...program.getGlobalDiagnostics(),
    ...checked.flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]),
  ].map((found) => {
    const at = found.file === undefined ? '' : path.relative(project, found.file.fileName)
    const line = found.file?.getLineAndCharacterOfPosition(found.start ?? 0).line ?? 0
    return `${at}:${line + 1} ${ts.flattenDiagnosticMessageText(found.messageText, ' ')}`
  })
}

describe(`with TypeScript ${ts.version}`, () => {
  test.each(Object.entries(ways))(
    'every sample of the documents compiles, with moduleResolution %s',
    (way, options) => {
      expect(samples.length).toBeGreaterThan(8)
      // A bundler has no require of TypeScript's kind.
      expect(check(options, [...samples, typed, ...(way === 'bundler' ? [] : [requires])])).toEqual([])
    },
  )
})
