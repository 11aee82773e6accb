package io.winnow.examples;

import ai.djl.Model;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TextTokenizer;
import io.winnow.core.generate.Generator;
import io.winnow.skipping.SkipCounter;
import io.winnow.skipping.SkipPolicy;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow generate}. */
@Command(
    name = "generate",
    mixinStandardHelpOptions = true,
    description = "Continues a prompt greedily.",
    footer = {
      "",
      "Example:",
      "  winnow generate --model Mixtral-8x7B-r6 --prompt 'def ' --max-tokens 64"
    })
final class GenerateCommand implements Callable<Integer> {
  @Mixin private ModelOptions model;

  @Mixin private SkipOptions skip;

  @Option(
      names = "--prompt",
      required = true,
      paramLabel = "TEXT",
      description = "text to continue")
  private String prompt;

  @Option(
      names = "--max-tokens",
      paramLabel = "N",
      defaultValue = "128",
      description = "new tokens at most (default: ${DEFAULT-VALUE})")
  private int maxTokens;

  @Override
  public Integer call() {
    if (maxTokens < 1) {
      throw new InvalidInputException("--max-tokens is " + maxTokens + "; use at least 1");
    }
    SkipPolicy policy = skip.policy();
    model.check();
    try (TextTokenizer tokenizer = TextTokenizer.open(model.folder());
        Model loaded = model.load()) {
      SkipCounter skipped = skip.install(loaded, policy);
      System.out.println(continuation(loaded, tokenizer, prompt, maxTokens));
      if (skipped != null) {
        System.err.println(SkipOptions.describe(skipped.snapshot()));
      }
    }
    return 0;
  }

  /** Returns the prompt and what the model makes of it. */
  static String continuation(Model model, TextTokenizer tokenizer, String prompt, int maxTokens) {
    long[] ids = tokenizer.encodeWithSpecialTokens(prompt);
    return prompt + tokenizer.decode(Generator.of(model).generate(ids, maxTokens));
  }
}
