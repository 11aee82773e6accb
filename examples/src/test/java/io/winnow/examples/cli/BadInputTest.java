package io.winnow.examples.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.Fixtures;
import io.winnow.core.TokenSequences;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What a command does with input it cannot use: exit code 2, one line that says what is wrong, and
 * nothing left behind. In the arguments, MODEL, IDS, TEXT and DIR stand for paths.
 */
class BadInputTest {
  @TempDir private Path folder;

  private Path ids;

  @BeforeEach
  void write() throws Exception {
    ids =
        Cli.writeIds(
            folder.resolve("ids.safetensors"), Fixtures.naeeTokens("calib.code").slice(0, 2));
    Files.createDirectory(folder.resolve("there"));
    Files.writeString(folder.resolve("file"), "");
    Files.writeString(folder.resolve("empty.txt"), "");
    Files.writeString(folder.resolve("short.txt"), "def main():\n");
    Files.writeString(folder.resolve("open.jsonl"), "{\"prompt\": \"a\", \"answer\": \"b\"}\n");
    Files.writeString(
        folder.resolve("choice.jsonl"),
        "{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 0}\n");
    Files.writeString(folder.resolve("bad.jsonl"), "{\"text\": \"def\"}\n{\"body\": 1}\n");
  }

  private List<Object> split(String arguments) {
    return Cli.words(arguments).stream()
        .map(word -> word.toString().replace("MODEL", Cli.MODEL))
        .map(word -> word.replace("IDS", ids.toString()))
        .map(word -> word.replace("TEXT", Fixtures.TEXT.resolve("code.calib.txt").toString()))
        .map(word -> word.replace("DIR", folder.toString()))
        .<Object>map(word -> word)
        .toList();
  }

  /** Runs a command that must refuse its input before any work, and returns what it says. */
  private String refusal(List<Object> words) {
    List<String> before = Cli.below(folder);
    Cli.Result result = Cli.run(words);
    assertThat(result.code()).as(result.err()).isEqualTo(2);
    assertThat(result.complaints()).as(result.err()).hasSize(1);
    assertThat(result.err()).doesNotContain("\tat ", "A defect").endsWith("\n");
    assertThat(result.out()).isEmpty();
    assertThat(Cli.below(folder)).isEqualTo(before);
    return result.complaints().get(0);
  }

  private void assertRefused(String arguments, String message) {
    assertThat(refusal(split(arguments))).contains(message);
  }

  @ParameterizedTest(name = "winnow {0}")
  @CsvSource(
      delimiter = '|',
      ignoreLeadingAndTrailingWhitespace = true,
      value = {
        "''                       | Say what to do: demo, inspect, calibrate, prune, narrow, shrink, apply, sparsify, evolve, finetune, worker, evaluate",
        "sift                     | There is no command 'sift'; choose one of demo, inspect, calibrate, prune",
        "--sift                   | Unknown option: '--sift'",
        "bench                    | Say what to measure: checkpoint, decode, load, many-experts, merge, operations, prefill, prune-stream, search",
        "bench sift               | There is no command 'sift'; choose one of checkpoint, decode, load, many-experts, merge, operations, prefill, prune-stream, search",
        "prune                    | Missing required options: '--model=DIR', '--out=DIR'",
        "prune --retain six       | Invalid value for option '--retain': 'six' is not an int",
        "apply --model a --plan b --out c more | Unmatched argument at index 7: 'more'",
        "apply --model MODEL      | (see 'winnow apply --help')",
      })
  void wrongUsage(String arguments, String message) {
    assertThat(refusal(arguments.isEmpty() ? List.of() : split(arguments))).contains(message);
  }

  @ParameterizedTest(name = "prune {0}")
  @CsvSource(
      delimiter = '|',
      ignoreLeadingAndTrailingWhitespace = true,
      value = {
        "--out DIR/new --retain 1                  | every token selects 2; retain 2 to 8",
        "--out DIR/new --retain 9                  | a layer has 8 experts",
        "--out DIR/new --retain 6 --length 0       | length must be at least 1",
        "--out DIR/new --retain 6 --length 257     | shorter than the length of 257",
        "--out DIR/new --retain 6 --length 513     | longer than the model's 512 positions",
        "--out DIR/new --retain 6 --sequences -1   | sequences must be at least 1, not -1",
        "--out DIR/new --retain 6 --group-sequences -1 | must not be negative, are -1",
        "--out DIR/new --retain 6 --method best    | choose one of reconstruction, random",
        "--out DIR/new --retain 6 --dtype int8     | choose float32, bfloat16 or float16",
        "--out DIR/new --retain 6 --device tpu     | choose cpu, gpu0, gpu1",
        "--out DIR/new --retain 6 --device gpu99   | --device is 'gpu99', but",
        "--out DIR/there --retain 6                | there exists already",
        "--out DIR/file --retain 6                 | file exists already",
        "--out DIR/no/new --retain 6               | no for new does not exist; create it",
        "--out DIR/file/new --retain 6             | does not exist",
        "--out MODEL/new --retain 6                | is inside the model",
        "--out DIR/new --retain 6 --report DIR/no/r.json | --report: the folder",
        "--out DIR/new --retain 6 --plan DIR/no/p.json   | --plan: the folder",
        "--out DIR/new --retain 6 --plan DIR/there       | there is a folder",
        "--out DIR/new --retain 6 --plan DIR/new         | is to be a folder already",
        "--out DIR/new --retain 6 --plan DIR/a --report DIR/there/../a | give two files",
        "--retain 6 --out DIR/new --stream --dtype bfloat16 | --stream computes in float32",
        "--retain 6 --out DIR/new --stream --progressive   | Progressive pruning needs the whole",
        "--retain 6 --out DIR/new --stream --devices tpu   | --devices is 'tpu'; choose cpu",
        "--retain 6 --out DIR/new --memory 0               | --memory is 0; use at least 1",
        "--retain 6 --out DIR/file --stream                | file exists already",
        "--out DIR/new                             | '--retain=R' (or --total, or --size)",
        "--out DIR/new --retain 6 --total 24       | Give one of --retain, --total and --size",
        "--out DIR/new --total 7                   | too few for 4 layers, which need at least 8",
        "--out DIR/new --size 0.1                  | --size is 0.1 MB, but the model without any",
        "--out DIR/new --total 24 --stream         | one after the other; use --retain",
        "--out DIR/new --total 24 --progressive    | divides no total",
        "--out DIR/new --retain 6 --stats DIR/file | --stats holds what was seen",
        "--out DIR/new --retain 6 --calib IDS:0    | The weight of 'ids.safetensors' is 0.0",
        "--out DIR/new --retain 6 --calib IDS:1e-9 | gets none of 128 sequences",
      })
  void prune(String arguments, String message) {
    assertRefused("prune --model MODEL --calib IDS " + arguments, message);
  }

  @ParameterizedTest(name = "{0}")
  @CsvSource(
      delimiter = '|',
      ignoreLeadingAndTrailingWhitespace = true,
      value = {
        "calibrate --model MODEL --out DIR/new               | '--calib=FILE[:WEIGHT]'",
        "calibrate --model MODEL --calib IDS --out DIR/file  | file exists already",
        "calibrate --model MODEL --calib IDS --out DIR/no/new | does not exist; create it",
        "calibrate --model MODEL --calib IDS --out DIR/new --group-sequences -1 | must not be negative",
        "prune --model MODEL --out DIR/new --retain 6        | '--calib=FILE[:WEIGHT]'",
        "prune --model MODEL --out DIR/new --retain 6 --stats DIR/none   | none",
        "prune --model MODEL --out DIR/new --retain 6 --stats IDS | does not hold calibration statistics",
        "prune --model MODEL --out DIR/new --retain 6 --stats IDS --progressive | --stats holds",
        "prune --model MODEL --out DIR/new --retain 6 --stats IDS --sequences 9 | --stats holds",
        "prune --model MODEL --out DIR/new --retain 6 --stats IDS --length 64   | --stats holds",
      })
  void statistics(String arguments, String message) {
    assertRefused(arguments, message);
  }

  @ParameterizedTest(name = "compare {0}")
  @CsvSource(
      delimiter = '|',
      ignoreLeadingAndTrailingWhitespace = true,
      value = {
        "--retain 6 --out DIR/new                           | nothing to measure; give --text",
        "--retain 6 --text IDS                              | '--out=DIR'",
        "--retain 6,1 --text IDS --out DIR/new              | --retain is 1, but",
        "--retain 6 --text IDS --out DIR/new --methods best | choose one of reconstruction, random",
        "--retain 6 --text IDS --out DIR/new --seeds 0      | --seeds is 0; use at least 1",
        "--retain 6 --text IDS --out DIR/new --windows 0    | --windows is 0; use at least 1",
        "--retain 6 --text IDS --out DIR/new --questions 0  | --questions is 0; use at least 1",
        "--retain 6 --text IDS --out DIR/new --length 1     | predicts nothing",
        "--retain 6 --text IDS --out DIR/new --shots 2      | --shots is for questions",
        "--retain 6 --text IDS --text DIR/ids.txt --out DIR/new | two files have the name 'ids'",
        "--retain 6 --text a_b=IDS --out DIR/new            | 'a_b' is no name",
        "--retain 6 --text DIR/none.txt --out DIR/new       | No such file",
        "--retain 6 --tasks DIR/bad.jsonl --out DIR/new     | Line 1 of",
        "--retain 6 --text IDS --out DIR/there              | there exists already",
        "--retain 6 --text IDS --out DIR/file               | file exists already",
        "--retain 6 --text IDS --out DIR/no/new             | does not exist; create it",
        "--retain 6 --text IDS --out MODEL/new              | is inside the model",
        "--retain 6 --text IDS --out MODEL                  | is inside the model",
        "--retain 6 --text IDS --out DIR/new --group-sequences -1 | must not be negative",
      })
  void compare(String arguments, String message) throws Exception {
    Files.writeString(folder.resolve("there/mine"), "");
    assertRefused("compare --model MODEL --calib IDS " + arguments, message);
  }

  @ParameterizedTest(name = "--calib {0}")
  @CsvSource(
      delimiter = '|',
      ignoreLeadingAndTrailingWhitespace = true,
      value = {
        "DIR/none.txt              | No such file",
        "DIR/there                 | Not a file",
        "DIR/empty.txt             | is empty: it has no tokens",
        "DIR/short.txt             | fewer than one sequence of 512",
        "DIR/bad.jsonl             | Line 2 of",
        "MODEL/model.safetensors   | has no tensor \"input_ids\"",
      })
  void calibration(String calib, String message) {
    assertRefused("prune --model MODEL --calib " + calib + " --retain 6 --out DIR/new", message);
  }

  @ParameterizedTest(name = "evaluate {0}")
  @CsvSource(
      delimiter = '|',
      ignoreLeadingAndTrailingWhitespace = true,
      value = {
        "--text IDS --windows 0            | --windows is 0; use at least 1",
        "--text IDS --windows -3           | --windows is -3",
        "--text IDS --length -1            | length must be at least 1, not -1",
        "--text IDS --length 1             | predicts nothing",
        "--text IDS --json DIR/no/r.json   | --json: the folder",
        "--text DIR/empty.txt              | is empty",
        "--length 8                        | (--text=FILE | --tasks=FILE.jsonl)",
        "--text IDS --tasks DIR/bad.jsonl  | are mutually exclusive",
        "--text IDS --extract x            | --extract is for questions",
        "--text IDS --batch 4              | --batch is for questions",
        "--tasks DIR/none.jsonl            | No such file",
        "--tasks DIR/bad.jsonl             | Line 1 of",
        "--tasks DIR/open.jsonl --length 8 | --length and --windows need --text",
        "--tasks DIR/open.jsonl --shots 2  | --shots needs --few-shot",
        "--tasks DIR/open.jsonl --few-shot DIR/open.jsonl --shots 2 | 2 examples are wanted of 1",
        "--tasks DIR/open.jsonl --batch 0  | --batch is 0; use at least 1",
        "--tasks DIR/open.jsonl --max-tokens 0  | --max-tokens is 0; use at least 1",
        "--tasks DIR/open.jsonl --extract (     | '(' is no regular expression",
        "--tasks DIR/open.jsonl --normalize all | choose squad or none",
        "--tasks DIR/choice.jsonl --stop x      | for which nothing is generated",
      })
  void evaluate(String arguments, String message) {
    assertRefused("evaluate --model MODEL " + arguments, message);
  }

  @ParameterizedTest(name = "{0}")
  @CsvSource(
      delimiter = '|',
      ignoreLeadingAndTrailingWhitespace = true,
      value = {
        "forward --model MODEL --input TEXT --out DIR/new            | give token ids",
        "forward --model MODEL --input IDS --out DIR/file            | file exists already",
        "forward --model MODEL --input IDS --out DIR/no/new          | does not exist; create it",
        "forward --model DIR/none --input IDS --out DIR/new          | none does not exist",
        "generate --model MODEL --prompt x --max-tokens 0            | --max-tokens is 0",
        "generate --model MODEL --prompt= --max-tokens 5             | The prompt has no tokens",
        "generate --model MODEL --prompt x --java-steps-up-to -1     | is -1; use 0 for never",
        "finetune --model MODEL --text TEXT --out DIR/new --checkpoints MODEL/c | is inside the model",
        "evolve --model MODEL --task IDS --retain 4 --out DIR/new --journal MODEL/j/k | is inside the model",
        "bench search --hidden 0                                     | must be at least 1",
        "bench search --retain 9                                     | Cannot retain 9 of 8",
        "bench search --top-k 5                                      | where a token selects 5",
        "bench many-experts --tokens 0                               | must be at least 1",
        "bench many-experts --retain 64                              | Cannot retain 64 of 64",
        "bench many-experts --layer best                             | choose random or routed",
        "bench search --json DIR/no/bench.json                       | --json: the folder",
        "bench prune-stream --model MODEL --scratch DIR --length 0     | --length must be at least 1",
        "bench prune-stream --model MODEL --scratch DIR/none         | --scratch: the folder",
        "bench checkpoint --out DIR/new --shard-mb 0                 | --shard-mb is 0",
        "demo --home DIR                                             | does not exist",
      })
  void otherCommands(String arguments, String message) {
    assertRefused(arguments, message);
  }

  @ParameterizedTest(name = "{0}")
  @CsvSource(
      delimiter = '|',
      ignoreLeadingAndTrailingWhitespace = true,
      quoteCharacter = '\0',
      value = {
        "{\"version\": 1, \"retained\":                            | is not a pruning plan",
        "[]                                                        | is no JSON object",
        "{\"retained\": {\"0\": [0, 1]}}                           | says version null",
        "{\"version\": 2, \"retained\": {\"0\": [0, 1]}}           | says version 2",
        "{\"version\": 1}                                          | has no object 'retained'",
        "{\"version\": 1, \"retained\": {}}                        | names no layer",
        "{\"version\": 1, \"retained\": {\"0\": [\"x\"]}}          | is no pruning plan",
        "{\"version\": 1, \"retained\": {\"0\": 3}}                | is no pruning plan",
        "{\"version\": 1, \"retained\": {\"0\": [0, 1]}}           | must name every MoE layer",
        "{\"version\": 1, \"retained\": {\"0\": [1, 0], \"1\": [0, 1], \"2\": [0, 1], \"3\": [0, 1]}} | 0",
        "{\"version\": 1, \"retained\": {\"0\": [0, 8], \"1\": [0, 1], \"2\": [0, 1], \"3\": [0, 1]}} | 8",
        "{\"version\": 1, \"retained\": {\"0\": [0], \"1\": [0], \"2\": [0], \"3\": [0]}}             | 2",
      })
  void plans(String plan, String message) throws Exception {
    Files.writeString(folder.resolve("plan.json"), plan);
    assertRefused("apply --model MODEL --plan DIR/plan.json --out DIR/new", message);
  }

  @ParameterizedTest(name = "{0}")
  @ValueSource(
      strings = {
        "--plan DIR/none.json --out DIR/new",
        "--plan DIR/there --out DIR/new",
        "--plan DIR/plan.json --out DIR/there",
        "--plan DIR/plan.json --out DIR/no/new",
        "--plan DIR/plan.json --out MODEL/new",
      })
  void placesOfPlans(String arguments) throws Exception {
    Files.writeString(
        folder.resolve("plan.json"),
        "{\"version\":1,\"retained\":{\"0\":[0,1],\"1\":[0,1],\"2\":[0,1],\"3\":[0,1]}}");
    refusal(split("apply --model MODEL " + arguments));
    assertThat(Fixtures.TINY_MIXTRAL.resolve("new")).doesNotExist();
  }

  @ParameterizedTest(name = "{0}")
  @EnumSource
  void damagedCheckpoints(Damage damage) throws Exception {
    damage.spoil(Cli.copyModel(folder.resolve("model")));
    Files.writeString(
        folder.resolve("plan.json"),
        "{\"version\":1,\"retained\":{\"0\":[0,1],\"1\":[0,1],\"2\":[0,1],\"3\":[0,1]}}");
    assertRefused(
        "prune --model DIR/model --calib IDS --retain 6 --out DIR/new --report DIR/report.json",
        damage.message());
    assertRefused("apply --model DIR/model --plan DIR/plan.json --out DIR/new", damage.message());
    assertRefused("evaluate --model DIR/model --text IDS", damage.message());
  }

  @Test
  void aModelWithoutTokenizerTakesTokenIdsOnly() throws Exception {
    Path model = Cli.copyModel(folder.resolve("model"));
    Files.delete(model.resolve("tokenizer.json"));
    String message = "tokenizer.json";
    assertRefused("prune --model DIR/model --calib TEXT --retain 6 --out DIR/new", message);
    assertRefused("evaluate --model DIR/model --text TEXT", message);
    assertRefused("generate --model DIR/model --prompt x", message);
    Cli.succeed(split("evaluate --model DIR/model --text IDS --length 16"));
  }

  @Test
  void aPromptLongerThanTheModelsPositions() throws Exception {
    String prompt = Files.readString(Fixtures.TEXT.resolve("code.valid.txt")).substring(0, 9000);
    assertThat(refusal(Cli.words("generate --model MODEL --prompt {}", prompt)))
        .contains("more than the model's 512 positions");
  }

  @Test
  void tokenIdsOutsideTheVocabulary() {
    Path large =
        Cli.writeIds(
            folder.resolve("large.safetensors"), TokenSequences.of(new long[][] {{1, 2, 1024, 4}}));
    for (String command :
        List.of(
            "prune --calib " + large + " --retain 6 --out DIR/new",
            "evaluate --text " + large,
            "forward --input " + large + " --out DIR/new")) {
      assertRefused(command + " --model MODEL", "1024");
    }
  }
}
