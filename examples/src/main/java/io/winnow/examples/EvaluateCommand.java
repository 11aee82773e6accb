package io.winnow.examples;

import ai.djl.Model;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenSequences;
import io.winnow.core.evaluate.Perplexity;
import io.winnow.skipping.SkipCounter;
import io.winnow.skipping.SkipPolicy;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow evaluate}. */
@Command(
    name = "evaluate",
    mixinStandardHelpOptions = true,
    description = "Measures the perplexity of a text, in windows that do not overlap.",
    footer = {
      "",
      "Example:",
      "  winnow evaluate --model Mixtral-8x7B-r6 --text valid.txt --length 2048"
    })
final class EvaluateCommand implements Callable<Integer> {
  @Mixin private ModelOptions model;

  @Mixin private SkipOptions skip;

  @Option(
      names = "--text",
      required = true,
      paramLabel = "FILE",
      description = ".txt, .jsonl (field 'text'), or .safetensors with token ids ('input_ids')")
  private Path text;

  @Option(
      names = "--length",
      paramLabel = "L",
      description = "tokens per window (default: 2048, or the model's positions if fewer)")
  private @Nullable Integer length;

  @Option(
      names = "--windows",
      paramLabel = "N",
      description = "use the first N windows, or all there are if fewer (default: all)")
  private @Nullable Integer windows;

  @Option(names = "--json", paramLabel = "FILE", description = "result to write as JSON")
  private @Nullable Path json;

  @Override
  public Integer call() throws Exception {
    if (windows != null && windows < 1) {
      throw new InvalidInputException("--windows is " + windows + "; use at least 1");
    }
    Outputs.requireFile("--json", json);
    SkipPolicy policy = skip.policy();
    ModelLimits limits = model.check();
    TokenSequences tokens =
        TokenFiles.windows(model.folder(), text, length, limits.maxPositions(), windows);
    try (Model loaded = model.load()) {
      SkipCounter skipped = skip.install(loaded, policy);
      Perplexity result = Perplexity.of(loaded, tokens, new ConsoleProgress());
      System.out.printf(
          Locale.ROOT,
          "perplexity %.4f, nll %.6f, %d windows of %d tokens%n",
          result.perplexity(),
          result.nll(),
          tokens.count(),
          tokens.length());
      if (skipped != null) {
        System.out.println(SkipOptions.describe(skipped.snapshot()));
      }
      if (json != null) {
        JsonObject object = new JsonObject();
        object.addProperty("perplexity", result.perplexity());
        object.addProperty("nll", result.nll());
        object.addProperty("tokens", result.tokens());
        if (skipped != null) {
          object.addProperty("skip_rate", skipped.snapshot().rate());
        }
        Json.write(json, object);
      }
    }
    return 0;
  }
}
