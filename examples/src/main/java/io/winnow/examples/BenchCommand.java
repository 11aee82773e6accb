package io.winnow.examples;

import ai.djl.Model;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.skipping.SkipPolicy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow bench}. */
@Command(
    name = "bench",
    mixinStandardHelpOptions = true,
    description = "Measures winnow against the usual way, both in the same run.",
    footer = {"", "Example:", "  winnow bench search --json search.json"})
final class BenchCommand implements Callable<Integer> {
  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  @Override
  public Integer call() {
    throw new CommandLine.ParameterException(
        spec.commandLine(),
        "Say what to measure: " + String.join(", ", spec.subcommands().keySet()));
  }

  @Command(
      name = "search",
      mixinStandardHelpOptions = true,
      description =
          "The search for the experts of a layer to retain, against running the layer again for"
              + " every subset, as the papers' code does.",
      footer = {
        "",
        "Example: the figures of the README:",
        "  winnow bench search --json search.json",
        "A quick look at a small layer:",
        "  winnow bench search --hidden 256 --intermediate 512 --tokens 512"
      })
  Integer search(
      @Option(
              names = "--hidden",
              defaultValue = "1024",
              description = "hidden size (default: ${DEFAULT-VALUE})")
          int hidden,
      @Option(
              names = "--intermediate",
              defaultValue = "3584",
              description = "intermediate size (default: ${DEFAULT-VALUE})")
          int intermediate,
      @Option(
              names = "--experts",
              defaultValue = "8",
              description = "experts (default: ${DEFAULT-VALUE})")
          int experts,
      @Option(
              names = "--top-k",
              defaultValue = "2",
              description = "experts per token (default: ${DEFAULT-VALUE})")
          int topK,
      @Option(
              names = "--tokens",
              defaultValue = "2048",
              description = "calibration tokens (default: ${DEFAULT-VALUE})")
          int tokens,
      @Option(
              names = "--retain",
              defaultValue = "4",
              description = "experts to retain (default: ${DEFAULT-VALUE})")
          int retain,
      @Option(
              names = "--repeat",
              defaultValue = "1",
              description = "pairs of runs; the median counts (default: ${DEFAULT-VALUE})")
          int repeat,
      @Option(names = "--json", paramLabel = "FILE", description = "result to write as JSON")
          @Nullable Path json)
      throws Exception {
    Outputs.requireFile("--json", json);
    SearchBenchmark benchmark =
        new SearchBenchmark(hidden, intermediate, experts, topK, tokens, retain, repeat);
    SearchBenchmark.Result result = benchmark.run();
    System.out.print(result.table());
    if (json != null) {
      Json.write(json, result.toJson());
    }
    return 0;
  }

  @Command(
      name = "many-experts",
      mixinStandardHelpOptions = true,
      description =
          "The search of a layer of many experts: its loss against other methods' and random subsets',"
              + " its time against computing all experts' outputs once.",
      footer = {
        "",
        "Example: the figures of the README:",
        "  winnow bench many-experts --experts 128 --retain 64 --layer routed --repeat 3"
      })
  Integer manyExperts(
      @Option(
              names = "--hidden",
              defaultValue = "1024",
              description = "hidden size (default: ${DEFAULT-VALUE})")
          int hidden,
      @Option(
              names = "--intermediate",
              defaultValue = "512",
              description = "intermediate size (default: ${DEFAULT-VALUE})")
          int intermediate,
      @Option(
              names = "--experts",
              defaultValue = "64",
              description = "experts (default: ${DEFAULT-VALUE})")
          int experts,
      @Option(
              names = "--top-k",
              defaultValue = "8",
              description = "experts per token (default: ${DEFAULT-VALUE})")
          int topK,
      @Option(
              names = "--tokens",
              defaultValue = "4096",
              description = "calibration tokens (default: ${DEFAULT-VALUE})")
          int tokens,
      @Option(
              names = "--retain",
              defaultValue = "32",
              description = "experts to retain (default: ${DEFAULT-VALUE})")
          int retain,
      @Option(
              names = "--layer",
              paramLabel = "KIND",
              defaultValue = "random",
              description =
                  "random, or routed: with topics and experts that have much in common (default:"
                      + " ${DEFAULT-VALUE})")
          String layer,
      @Option(
              names = "--threads",
              defaultValue = "2",
              description = "threads of the search (default: ${DEFAULT-VALUE})")
          int threads,
      @Option(
              names = "--repeat",
              defaultValue = "1",
              description = "pairs of runs; the median counts (default: ${DEFAULT-VALUE})")
          int repeat,
      @Option(
              names = "--seed",
              defaultValue = "0",
              description = "seed of layer and search (default: ${DEFAULT-VALUE})")
          long seed,
      @Option(names = "--json", paramLabel = "FILE", description = "result to write as JSON")
          @Nullable Path json)
      throws Exception {
    if (!layer.equals("random") && !layer.equals("routed")) {
      throw new InvalidInputException("--layer is '" + layer + "'; choose random or routed");
    }
    Outputs.requireFile("--json", json);
    ManyExpertsBenchmark.Result result =
        new ManyExpertsBenchmark(
                hidden,
                intermediate,
                experts,
                topK,
                tokens,
                retain,
                layer.equals("routed"),
                threads,
                repeat,
                seed)
            .run();
    System.out.print(result.table());
    if (json != null) {
      Json.write(json, result.toJson());
    }
    return 0;
  }

  @Command(
      name = "prefill",
      mixinStandardHelpOptions = true,
      description =
          "The first new token of random prompts, beside the matrix products alone, and beside"
              + " Transformers.",
      footer = {
        "",
        "Example:",
        "  winnow bench checkpoint --out random-mixtral",
        "  winnow bench prefill --model random-mixtral --python .venv/bin/python"
      })
  Integer prefill(
      @Mixin ModelOptions model,
      @Mixin BaselineOptions baselines,
      @Option(
              names = "--prompt-tokens",
              paramLabel = "N",
              defaultValue = "256",
              description = "tokens of each prompt (default: ${DEFAULT-VALUE})")
          int promptTokens,
      @Option(
              names = "--batch",
              paramLabel = "B",
              defaultValue = "8",
              description = "prompts at a time (default: ${DEFAULT-VALUE})")
          int batch,
      @Option(
              names = "--repeat",
              paramLabel = "R",
              defaultValue = "5",
              description = "rounds; the median counts (default: ${DEFAULT-VALUE})")
          int repeat,
      @Option(names = "--json", paramLabel = "FILE", description = "result to write as JSON")
          @Nullable Path json)
      throws Exception {
    if (promptTokens < 1 || batch < 1 || repeat < 1) {
      throw new InvalidInputException("--prompt-tokens, --batch and --repeat must be at least 1");
    }
    baselines.applyThreads();
    Outputs.requireFile("--json", json);
    model.check();
    try (TransformersBaseline baseline = baselines.start(model);
        Model loaded = model.load()) {
      PrefillBenchmark.Result result =
          new PrefillBenchmark(model.folder(), loaded, baseline, batch, promptTokens, repeat).run();
      System.out.print(result.table());
      if (json != null) {
        Json.write(json, result.toJson());
      }
    }
    return 0;
  }

  @Command(
      name = "decode",
      mixinStandardHelpOptions = true,
      description =
          "Decoding behind random prompts, with and without skipping, beside its matrix products"
              + " and the reading of its weights alone, and beside Transformers.",
      footer = {
        "",
        "Example:",
        "  winnow bench checkpoint --out random-mixtral",
        "  winnow bench decode --model random-mixtral --dtype bfloat16 --threads 1"
      })
  Integer decode(
      @Mixin DecodingOptions model,
      @Mixin SkipOptions skip,
      @Mixin BaselineOptions baselines,
      @Option(
              names = "--prompt-tokens",
              paramLabel = "N",
              defaultValue = "64",
              description = "tokens of each prompt (default: ${DEFAULT-VALUE})")
          int promptTokens,
      @Option(
              names = "--tokens",
              paramLabel = "N",
              defaultValue = "64",
              description = "new tokens of each sequence, at least 2 (default: ${DEFAULT-VALUE})")
          int tokens,
      @Option(
              names = "--batch",
              paramLabel = "B",
              defaultValue = "1",
              description = "sequences at a time (default: ${DEFAULT-VALUE})")
          int batch,
      @Option(
              names = "--repeat",
              paramLabel = "R",
              defaultValue = "5",
              description = "rounds; the median counts (default: ${DEFAULT-VALUE})")
          int repeat,
      @Option(names = "--json", paramLabel = "FILE", description = "result to write as JSON")
          @Nullable Path json)
      throws Exception {
    if (promptTokens < 1 || tokens < 2 || batch < 1 || repeat < 1) {
      throw new InvalidInputException(
          "--prompt-tokens, --batch and --repeat must be at least 1, --tokens at least 2");
    }
    baselines.applyThreads();
    Outputs.requireFile("--json", json);
    SkipPolicy policy = skip.policy();
    model.check();
    try (TransformersBaseline baseline = baselines.start(model);
        Model loaded = model.load()) {
      DecodeBenchmark.Result result =
          new DecodeBenchmark(
                  model.folder(),
                  loaded,
                  skip.isGiven() ? policy : null,
                  baseline,
                  batch,
                  promptTokens,
                  tokens,
                  repeat)
              .run();
      System.out.print(result.table());
      if (json != null) {
        Json.write(json, result.toJson());
      }
    }
    return 0;
  }

  @Command(
      name = "load",
      mixinStandardHelpOptions = true,
      description =
          "From the start of a process to the first token of a checkpoint, beside loading alone,"
              + " reading the bytes alone, and Transformers.",
      footer = {
        "",
        "Example: 2 GB, with the tokenizer of the small model:",
        "  winnow bench checkpoint --out two --layers 11 \\",
        "      --tokenizer examples/demo/tiny-mixtral",
        "  winnow bench load --model two --dtype bfloat16 --python .venv/bin/python"
      })
  Integer load(
      @Mixin ModelOptions model,
      @Mixin BaselineOptions baselines,
      @Option(
              names = "--repeat",
              paramLabel = "R",
              defaultValue = "5",
              description = "rounds; the median counts (default: ${DEFAULT-VALUE})")
          int repeat,
      @Option(names = "--json", paramLabel = "FILE", description = "result to write as JSON")
          @Nullable Path json)
      throws Exception {
    if (repeat < 1) {
      throw new InvalidInputException("--repeat is " + repeat + "; use at least 1");
    }
    baselines.applyThreads();
    Outputs.requireFile("--json", json);
    model.check();
    Path home = baselines.home();
    Path python = baselines.python();
    int threads = baselines.threads();
    LoadBenchmark.Result result =
        new LoadBenchmark(
                model.folder(),
                model::load,
                LoadBenchmark.winnow(home, model),
                python == null ? null : LoadBenchmark.transformers(python, home, model, threads),
                threads,
                repeat)
            .run();
    System.out.print(result.table());
    if (json != null) {
      Json.write(json, result.toJson());
    }
    return 0;
  }

  @Command(
      name = "operations",
      mixinStandardHelpOptions = true,
      description =
          "The small operations by JMH: routing, the loss of a subset, a decode step, drawing a"
              + " token.",
      footer = {
        "",
        "Example:",
        "  winnow bench operations --model examples/demo/tiny-mixtral --threads 1"
      })
  Integer operations(
      @Option(names = "--model", required = true, paramLabel = "DIR", description = "the model")
          Path model,
      @Option(
              names = "--threads",
              defaultValue = "1",
              description = "threads of the engine (default: ${DEFAULT-VALUE})")
          int threads,
      @Option(
              names = "--forks",
              defaultValue = "2",
              description =
                  "processes of each operation; 0 measures in this one (default:"
                      + " ${DEFAULT-VALUE})")
          int forks,
      @Option(
              names = "--iterations",
              defaultValue = "3",
              description = "iterations, and as many to warm up (default: ${DEFAULT-VALUE})")
          int iterations,
      @Option(
              names = "--milliseconds",
              defaultValue = "1000",
              description = "time of an iteration (default: ${DEFAULT-VALUE})")
          long milliseconds,
      @Option(names = "--json", paramLabel = "FILE", description = "result to write as JSON")
          @Nullable Path json)
      throws Exception {
    if (threads < 1 || forks < 0 || iterations < 1 || milliseconds < 1) {
      throw new InvalidInputException(
          "--threads, --iterations and --milliseconds must be at least 1, --forks at least 0");
    }
    Outputs.requireFile("--json", json);
    var unused = ModelLimits.of(model);
    OperationsBenchmark.Figures figures =
        OperationsBenchmark.run(model, threads, forks, iterations, milliseconds);
    System.out.print(figures.table());
    if (json != null) {
      Json.write(json, figures.toJson());
    }
    return 0;
  }

  @Command(
      name = "merge",
      mixinStandardHelpOptions = true,
      description =
          "Merging experts into the running model, against writing a merged folder and loading it.",
      footer = {
        "",
        "Example:",
        "  winnow bench checkpoint --out random-mixtral",
        "  winnow bench merge --model random-mixtral --retain 4"
      })
  Integer merge(
      @Option(names = "--model", required = true, paramLabel = "DIR", description = "the model")
          Path model,
      @Option(
              names = "--retain",
              paramLabel = "R",
              defaultValue = "4",
              description = "merged experts a layer (default: ${DEFAULT-VALUE})")
          int retain,
      @Option(
              names = "--scratch",
              paramLabel = "DIR",
              description = "folder for merged models (default: the system's temporary folder)")
          @Nullable Path scratch,
      @Option(
              names = "--repeat",
              paramLabel = "N",
              defaultValue = "3",
              description = "pairs of runs; the median counts (default: ${DEFAULT-VALUE})")
          int repeat,
      @Option(names = "--json", paramLabel = "FILE", description = "result to write as JSON")
          @Nullable Path json)
      throws Exception {
    Outputs.requireFile("--json", json);
    if (scratch != null && !Files.isDirectory(scratch)) {
      throw new InvalidInputException("--scratch: there is no folder " + scratch);
    }
    Path folder =
        scratch == null
            ? Files.createTempDirectory("winnow-merge")
            : Files.createTempDirectory(scratch, "winnow-merge");
    try {
      MergeBenchmark.Result result = new MergeBenchmark(model, retain, repeat, folder).run();
      System.out.print(result.table());
      if (json != null) {
        Json.write(json, result.toJson());
      }
    } finally {
      Files.delete(folder);
    }
    return 0;
  }

  @Command(
      name = "prune-stream",
      mixinStandardHelpOptions = true,
      description =
          "Pruning a checkpoint on disk layer by layer: time, memory, and how often tensors are"
              + " read.",
      footer = {
        "",
        "Example: 11 GB, the figures of the README:",
        "  winnow bench checkpoint --out big --layers 16 --hidden 2048 --intermediate 7168 \\",
        "      --shard-mb 2000",
        "  winnow bench prune-stream --model big --retain 6 --scratch ."
      })
  Integer pruneStream(
      @Option(names = "--model", required = true, paramLabel = "DIR", description = "the model")
          Path model,
      @Option(
              names = "--retain",
              paramLabel = "R",
              defaultValue = "6",
              description = "experts to keep in every layer (default: ${DEFAULT-VALUE})")
          int retain,
      @Option(
              names = "--sequences",
              paramLabel = "N",
              defaultValue = "16",
              description = "calibration sequences of random tokens (default: ${DEFAULT-VALUE})")
          int sequences,
      @Option(
              names = "--length",
              paramLabel = "L",
              defaultValue = "512",
              description = "tokens per sequence (default: ${DEFAULT-VALUE})")
          int length,
      @Option(
              names = "--memory",
              paramLabel = "MIB",
              defaultValue = "1024",
              description = "for hidden states and experts' outputs (default: ${DEFAULT-VALUE})")
          long memory,
      @Option(
              names = "--scratch",
              required = true,
              paramLabel = "DIR",
              description = "folder for the pruned model, which is removed")
          Path scratch,
      @Option(names = "--json", paramLabel = "FILE", description = "result to write as JSON")
          @Nullable Path json)
      throws Exception {
    Outputs.requireFile("--json", json);
    Path out = scratch.resolve("winnow-prune-stream");
    Outputs.requireNewCheckpoint("--scratch", out, model);
    StreamingBenchmark.Result result =
        new StreamingBenchmark(model, retain, sequences, length, memory << 20, out)
            .run(new ConsoleProgress());
    System.out.print(result.table());
    if (json != null) {
      Json.write(json, result.toJson());
    }
    return 0;
  }

  @Command(
      name = "checkpoint",
      mixinStandardHelpOptions = true,
      description = "Writes a Mixtral checkpoint of random weights to measure with.",
      footer = {"", "Example:", "  winnow bench checkpoint --out random-mixtral --layers 4"})
  Integer checkpoint(
      @Option(names = "--out", required = true, paramLabel = "DIR", description = "folder to write")
          Path out,
      @Option(
              names = "--layers",
              defaultValue = "4",
              description = "layers (default: ${DEFAULT-VALUE})")
          int layers,
      @Option(
              names = "--hidden",
              defaultValue = "1024",
              description = "hidden size, a multiple of 128 (default: ${DEFAULT-VALUE})")
          int hidden,
      @Option(
              names = "--intermediate",
              defaultValue = "3584",
              description = "intermediate size (default: ${DEFAULT-VALUE})")
          int intermediate,
      @Option(
              names = "--experts",
              defaultValue = "8",
              description = "experts (default: ${DEFAULT-VALUE})")
          int experts,
      @Option(
              names = "--vocabulary",
              defaultValue = "1024",
              description = "vocabulary (default: ${DEFAULT-VALUE})")
          int vocabulary,
      @Option(
              names = "--stored",
              paramLabel = "TYPE",
              defaultValue = "BF16",
              description = "BF16 or F32 (default: ${DEFAULT-VALUE})")
          TensorType stored,
      @Option(
              names = "--shard-mb",
              paramLabel = "MB",
              defaultValue = "1000000",
              description = "megabytes of a file at most (default: one file)")
          int shardMegabytes,
      @Option(
              names = "--tokenizer",
              paramLabel = "DIR",
              description = "folder whose tokenizer.json is copied, for commands that take text")
          @Nullable Path tokenizer)
      throws Exception {
    if (stored != TensorType.BF16 && stored != TensorType.F32) {
      throw new InvalidInputException("--stored is " + stored + "; choose BF16 or F32");
    }
    Outputs.requireNew("--out", out);
    if (shardMegabytes < 1) {
      throw new InvalidInputException("--shard-mb is " + shardMegabytes + "; use at least 1");
    }
    if (tokenizer != null && !Files.isRegularFile(tokenizer.resolve("tokenizer.json"))) {
      throw new InvalidInputException("--tokenizer: there is no tokenizer.json in " + tokenizer);
    }
    new RandomCheckpoint(layers, hidden, intermediate, experts, vocabulary, stored)
        .write(out, 1_000_000L * shardMegabytes);
    if (tokenizer != null) {
      Files.copy(tokenizer.resolve("tokenizer.json"), out.resolve("tokenizer.json"));
    }
    System.out.println("Written to " + out);
    return 0;
  }
}
