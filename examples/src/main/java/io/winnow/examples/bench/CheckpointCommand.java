package io.winnow.examples.bench;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.examples.options.Numbers;
import io.winnow.examples.options.OutFolderOptions;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow bench checkpoint}. */
@Command(
    name = "checkpoint",
    mixinStandardHelpOptions = true,
    description = "Writes a Mixtral checkpoint of random weights to measure with.",
    footer = {"", "Example:", "  winnow bench checkpoint --out random-mixtral --layers 4"})
final class CheckpointCommand implements Callable<Integer> {
  @Mixin private OutFolderOptions out;

  @Option(
      names = "--layers",
      defaultValue = "4",
      description = "layers (default: ${DEFAULT-VALUE})")
  private int layers;

  @Option(
      names = "--hidden",
      defaultValue = "1024",
      description = "hidden size, a multiple of 128 (default: ${DEFAULT-VALUE})")
  private int hidden;

  @Option(
      names = "--intermediate",
      defaultValue = "3584",
      description = "intermediate size (default: ${DEFAULT-VALUE})")
  private int intermediate;

  @Option(
      names = "--experts",
      defaultValue = "8",
      description = "experts (default: ${DEFAULT-VALUE})")
  private int experts;

  @Option(
      names = "--vocabulary",
      defaultValue = "1024",
      description = "vocabulary (default: ${DEFAULT-VALUE})")
  private int vocabulary;

  @Option(
      names = "--stored",
      paramLabel = "TYPE",
      defaultValue = "BF16",
      description = "BF16 or F32 (default: ${DEFAULT-VALUE})")
  private TensorType stored;

  @Option(
      names = "--shard-mb",
      paramLabel = "MB",
      defaultValue = "1000000",
      description = "megabytes of a file at most (default: one file)")
  private int shardMegabytes;

  @Option(
      names = "--tokenizer",
      paramLabel = "DIR",
      description = "folder whose tokenizer.json is copied, for commands that take text")
  private @Nullable Path tokenizer;

  @Override
  public Integer call() throws Exception {
    if (stored != TensorType.BF16 && stored != TensorType.F32) {
      throw new InvalidInputException("--stored is " + stored + "; choose BF16 or F32");
    }
    out.checkNew();
    Numbers.requirePositive("--shard-mb", shardMegabytes);
    if (tokenizer != null && !Files.isRegularFile(tokenizer.resolve("tokenizer.json"))) {
      throw new InvalidInputException("--tokenizer: there is no tokenizer.json in " + tokenizer);
    }
    new RandomMixtral(layers, hidden, intermediate, experts, vocabulary, stored)
        .write(out.folder(), 1_000_000L * shardMegabytes);
    if (tokenizer != null) {
      Files.copy(tokenizer.resolve("tokenizer.json"), out.folder().resolve("tokenizer.json"));
    }
    out.printWritten();
    return 0;
  }
}
