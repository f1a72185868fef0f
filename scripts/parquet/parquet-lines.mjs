// The rows of a parquet file as JSON lines on standard output: "text" (else "content"), and "id" if there is one.
// `lt2 data prepare` starts it; alone: node parquet-lines.mjs FILE.parquet | head
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const fail = message => {
  process.stderr.write(`parquet-lines: ${message}\n`)
  process.exit(1)
}

// The reader has stopped reading: nobody is left to tell.
process.stdout.on('error', () => process.exit(1))

let hyparquet, compressors
try {
  hyparquet = await import('hyparquet')
  compressors = (await import('hyparquet-compressors')).compressors
} catch {
  const folder = fileURLToPath(new URL('.', import.meta.url))
  fail(`reading parquet needs the npm package hyparquet. Run scripts/setup.sh --with-parquet, or: npm install --omit=dev --no-package-lock --prefix ${folder}`)
}

// Numbers of 64 bits are BigInt, which JSON does not know.
const plain = (_, value) => typeof value === 'bigint' ? value.toString() : value

async function write(path) {
  const file = await hyparquet.asyncBufferFromFile(path)
  const metadata = await hyparquet.parquetMetadataAsync(file)
  const names = hyparquet.parquetSchema(metadata).children.map(child => child.element.name)
  const text = ['text', 'content'].find(name => names.includes(name))
  if (!text) fail(`no "text" or "content" column, found ${names.map(name => `"${name}"`).join(', ') || 'none'}. Rename one`)
  const columns = names.includes('id') ? ['id', text] : [text]
  let rowStart = 0
  for (const group of metadata.row_groups) {
    const rowEnd = rowStart + Number(group.num_rows)
    const rows = await hyparquet.parquetReadObjects({ file, metadata, columns, rowStart, rowEnd, compressors })
    let block = ''
    for (const row of rows) {
      block += JSON.stringify(Object.fromEntries(columns.map(name => [name, row[name] ?? null])), plain) + '\n'
      if (block.length < 1 << 18) continue
      if (!process.stdout.write(block)) await once(process.stdout, 'drain')
      block = ''
    }
    if (block && !process.stdout.write(block)) await once(process.stdout, 'drain')
    rowStart = rowEnd
  }
}

try {
  await write(process.argv[2])
} catch (error) {
  fail(`cannot read it as parquet: ${String(error?.message ?? error).split('\n')[0]}`)
}
